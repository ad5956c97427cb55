//! A reference to a payload, as text: `mcpref://…`, at most 1 KiB, signed.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::id::{Hex, Id, parse_hex};
use crate::key::{self, Key};
use crate::{Error, ErrorKind, Result};

/// The longest text of a reference, in bytes.
const LONGEST: usize = 1024;
/// The longest name of a tenant, in bytes.
const LONGEST_TENANT: usize = 64;
const SCHEME: &str = "mcpref://";
const SIGNATURE: &str = "&mac=";

/// What another process needs to find a payload, and to know that it is the one that was meant.
///
/// Its [`Display`](fmt::Display) is the text to hand over; [`FromStr`] reads it again. Whoever has that
/// text, runs as the same user and can use the spool's directory may open the payload until it
/// expires: keep it out of logs, as [`Debug`](fmt::Debug) does.
///
/// ```text
/// mcpref://tenant/id?len=67108864&sum=…&exp=…&type=application%2Fjson&at=fd:…&at=file&mac=…
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PayloadRef {
    claims: Claims,
    signature: [u8; key::LENGTH],
}

/// What a reference says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Claims {
    pub(crate) id: Id,
    pub(crate) tenant: String,
    pub(crate) len: u64,
    pub(crate) checksum: u64,
    /// In milliseconds since 1970.
    pub(crate) expires: u64,
    pub(crate) content_type: Option<String>,
    pub(crate) locations: Vec<Location>,
}

/// Where a payload can be had.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Location {
    /// From a living worker on the same kernel, as a descriptor.
    Descriptor {
        /// The worker that has it.
        worker: Id,
    },
    /// In the spool's directory, as a file.
    File,
    /// In an object store. Nothing writes such references yet, and [`Spool::open`](crate::Spool::open)
    /// passes over them.
    Object {
        /// Its address, as the store has it.
        url: String,
    },
}

impl PayloadRef {
    pub(crate) fn sign(claims: Claims, key: &Key) -> Result<Self> {
        let text = claims.to_string();
        if text.len() + SIGNATURE.len() + 2 * key::LENGTH > LONGEST {
            return Err(Error::new(ErrorKind::InvalidOption, "the reference would be over 1 KiB"));
        }
        Ok(Self { signature: key.sign(text.as_bytes()), claims })
    }

    /// What it says, if `key` signed it.
    pub(crate) fn verify(&self, key: &Key) -> Result<&Claims> {
        let signed = key.verify(self.claims.to_string().as_bytes(), &self.signature);
        signed.then_some(&self.claims).ok_or_else(|| {
            let subject = format!("payload {}: the reference is not signed by this spool", self.claims.id);
            Error::new(ErrorKind::Denied, subject)
        })
    }

    /// The id of the payload: 128 random bits.
    #[must_use]
    pub fn id(&self) -> Id {
        self.claims.id
    }

    /// Whose payload it is.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.claims.tenant
    }

    /// Bytes of the payload.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "the reference itself is never empty")]
    pub fn len(&self) -> u64 {
        self.claims.len
    }

    /// The XXH3 checksum of the payload.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        self.claims.checksum
    }

    /// What kind of content it is, if its sharer said so.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.claims.content_type.as_deref()
    }

    /// From when on it cannot be opened any more.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.claims.expires)
    }

    /// Where the payload can be had, the nearest first.
    #[must_use]
    pub fn locations(&self) -> &[Location] {
        &self.claims.locations
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A name that can be a tenant's: ASCII letters, digits, `.`, `_`, `~` and `-`.
pub(crate) fn is_tenant(name: &str) -> bool {
    (1..=LONGEST_TENANT).contains(&name.len()) && name.bytes().all(is_unreserved)
}

/// Text that can be a content type: visible ASCII and spaces.
pub(crate) fn is_content_type(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

impl fmt::Display for PayloadRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{SIGNATURE}{}", self.claims, Hex(&self.signature))
    }
}

impl fmt::Debug for PayloadRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Claims { id, tenant, len, .. } = &self.claims;
        f.debug_struct("PayloadRef").field("id", id).field("tenant", tenant).field("len", len).finish()
    }
}

impl fmt::Display for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, tenant, len, checksum, expires, .. } = self;
        write!(f, "{SCHEME}{tenant}/{id}?len={len}&sum={checksum:016x}&exp={expires}")?;
        if let Some(content_type) = &self.content_type {
            write!(f, "&type={}", Escaped(content_type))?;
        }
        self.locations.iter().try_for_each(|location| write!(f, "&at={location}"))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Descriptor { worker } => write!(f, "fd:{worker}"),
            Self::File => f.write_str("file"),
            Self::Object { url } => write!(f, "object:{}", Escaped(url)),
        }
    }
}

impl FromStr for PayloadRef {
    type Err = Error;

    /// Read a reference. Whether it is genuine is seen when it is opened.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRef`] for any text that [`Display`](fmt::Display) does not write.
    fn from_str(text: &str) -> Result<Self> {
        let reference = (text.len() <= LONGEST).then(|| parse(text)).flatten();
        // One payload, one text: a reference that was changed in any way is another one.
        reference.filter(|reference| reference.to_string() == text).ok_or_else(|| {
            let subject = format!("not a payload reference ({} bytes of text)", text.len());
            Error::new(ErrorKind::InvalidRef, subject)
        })
    }
}

fn parse(text: &str) -> Option<PayloadRef> {
    let (text, signature) = text.strip_prefix(SCHEME)?.rsplit_once(SIGNATURE)?;
    let (path, query) = text.split_once('?')?;
    let (tenant, id) = path.split_once('/')?;
    let mut claims = Claims {
        id: Id::parse(id)?,
        tenant: Some(tenant).filter(|tenant| is_tenant(tenant))?.to_owned(),
        len: 0,
        checksum: 0,
        expires: 0,
        content_type: None,
        locations: Vec::new(),
    };
    for (name, value) in query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
        match name {
            "len" => claims.len = value.parse().ok()?,
            "sum" => claims.checksum = u64::from_be_bytes(parse_hex(value)?),
            "exp" => claims.expires = value.parse().ok()?,
            "type" => claims.content_type = Some(unescape(value).filter(|text| is_content_type(text))?),
            "at" => claims.locations.push(parse_location(value)?),
            _ => return None,
        }
    }
    Some(PayloadRef { claims, signature: parse_hex(signature)? })
}

fn parse_location(text: &str) -> Option<Location> {
    match text.split_once(':') {
        None => (text == "file").then_some(Location::File),
        Some(("fd", worker)) => Some(Location::Descriptor { worker: Id::parse(worker)? }),
        Some(("object", url)) => Some(Location::Object { url: unescape(url)? }),
        Some(_) => None,
    }
}

/// Writes text as a URL may have it.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.bytes().try_for_each(|byte| {
            if is_unreserved(byte) { f.write_char(char::from(byte)) } else { write!(f, "%{byte:02X}") }
        })
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._~-".contains(&byte)
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::random_bytes;
    use proptest::prelude::*;

    fn key() -> Key {
        Key::new(&random_bytes().expect("random bits"))
    }

    fn claims() -> Claims {
        Claims {
            id: Id([0x1f; 16]),
            tenant: "team-a".into(),
            len: 64 << 20,
            checksum: 0x0123_4567_89ab_cdef,
            expires: 1_790_000_000_000,
            content_type: Some("application/json; charset=utf-8".into()),
            locations: vec![
                Location::Descriptor { worker: Id([2; 16]) },
                Location::File,
                Location::Object { url: "s3://bucket/a key&more".into() },
            ],
        }
    }

    #[test]
    fn a_reference_survives_its_text() {
        let key = key();
        let reference = PayloadRef::sign(claims(), &key).expect("short");
        let (read, another): (PayloadRef, _) =
            (reference.to_string().parse().expect("its own text"), self::key());
        assert_eq!(read.verify(&key).expect("signed"), &claims());
        assert!(reference.to_string().len() < LONGEST);
        assert_eq!(read.verify(&another).expect_err("another key").kind(), ErrorKind::Denied);
    }

    #[test]
    fn the_text_is_a_url_that_people_can_read() {
        let text = PayloadRef::sign(claims(), &key()).expect("short").to_string();
        let start = "mcpref://team-a/1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f?len=67108864&sum=0123456789abcdef\
            &exp=1790000000000&type=application%2Fjson%3B%20charset%3Dutf-8\
            &at=fd:02020202020202020202020202020202&at=file&at=object:s3%3A%2F%2Fbucket%2Fa%20key%26more&mac=";
        assert_eq!(&text[..start.len()], start);
    }

    #[test]
    fn nobody_learns_the_signature_from_a_log() {
        let reference = PayloadRef::sign(claims(), &key()).expect("short");
        let signature = Hex(&reference.signature).to_string();
        assert!(reference.to_string().contains(&signature));
        assert!(!format!("{reference:?}").contains(&signature));
    }

    #[test]
    fn a_reference_over_1_kib_is_refused() {
        let mut long = claims();
        long.locations.push(Location::Object { url: "x".repeat(900) });
        assert_eq!(PayloadRef::sign(long, &key()).expect_err("long").kind(), ErrorKind::InvalidOption);
    }

    fn refuse(text: &str) -> bool {
        text.parse::<PayloadRef>().is_err_and(|error| error.kind() == ErrorKind::InvalidRef)
    }

    #[test]
    fn other_texts_are_refused() {
        let text = PayloadRef::sign(claims(), &key()).expect("short").to_string();
        assert!(!refuse(&text));
        assert!(refuse(""));
        assert!(refuse("mcpref://"));
        assert!(refuse(&text.replace("len=67108864", "len=067108864")));
        assert!(refuse(&text.replace("len=67108864", "len=99999999999999999999")));
        assert!(refuse(&text.replace("&sum=", "&sum=&sum=")));
        assert!(refuse(&text.replace("%2F", "%2f")));
        assert!(refuse(&text.replace("team-a", "team%2Da")));
        assert!(refuse(&text.replace("team-a", "../a")));
        assert!(refuse(&text.replace("mcpref", "MCPREF")));
        assert!(refuse(&format!("{text} ")));
        assert!(refuse(&format!("{text}{}", "&at=file".repeat(200))));
    }

    proptest! {
        #[test]
        fn any_text_is_a_reference_or_refused(text in "\\PC{0,200}") {
            prop_assert!(refuse(&text));
            let _ = refuse(&format!("mcpref://a/{}?{text}&mac={}", Id([0; 16]), Hex(&[0; 32])));
        }
    }
}
