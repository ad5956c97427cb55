//! The revisions of the protocol, and their two generations.

/// A revision of the protocol, named by its day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// The first.
    V2024_11_05,
    /// The first with Streamable HTTP.
    V2025_03_26,
    /// The first that names itself in a header.
    V2025_06_18,
    /// The last with sessions.
    V2025_11_25,
    /// The first without.
    V2026_07_28,
}

/// How client and server come to know each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// By `initialize`, and perhaps a session.
    Legacy,
    /// By what each request says of itself.
    Modern,
}

impl Version {
    /// Every version, the oldest first.
    pub const ALL: [Self; 5] =
        [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];
    /// What `initialize` asks for.
    pub const NEWEST_LEGACY: Self = Self::V2025_11_25;
    /// What a modern request says of itself.
    pub const NEWEST_MODERN: Self = Self::V2026_07_28;

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The version of that name, if it is one of those that are spoken here.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == name)
    }

    /// The generation it belongs to.
    #[must_use]
    pub const fn generation(self) -> Generation {
        match self {
            Self::V2026_07_28 => Generation::Modern,
            _ => Generation::Legacy,
        }
    }
}
