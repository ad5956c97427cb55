//! What helps to find the children of containers that have many: made when somebody looks for one.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;

use super::document::Inner;
use super::node::{Child, Children, Spot};
use super::text::{says, unescape};

/// One child of so many is noted for arrays: 0.5 bytes an element, and at most 15 steps to one.
const STRIDE: usize = 16;

/// Where the children of one container are.
pub(super) enum Lookup {
    /// Where every sixteenth element begins.
    Array(Vec<(u32, u32)>),
    /// Members by the hash of their key, each key once, with its last value.
    Object { hasher: RandomState, members: Vec<(u64, Child)> },
}

impl Lookup {
    /// Containers with fewer children are walked over.
    pub(super) const FROM: usize = 32;

    pub(super) fn of(inner: &Inner, container: u32) -> Self {
        let mut children = Children::of(inner, container);
        if inner.text[inner.containers[container as usize].start as usize] == b'[' {
            let count = inner.containers[container as usize].count as usize;
            let mut points = Vec::with_capacity(count.div_ceil(STRIDE));
            for index in 0..count {
                if index.is_multiple_of(STRIDE) {
                    points.push(children.resume_point());
                }
                children.next();
            }
            return Self::Array(points);
        }
        // A seed of its own each time, so that no sender can choose keys that collide.
        let hasher = RandomState::new();
        let with_hash = |child: Child| (hasher.hash_one(&*unescape(inner.raw(child.key))), child);
        let mut members: Vec<_> = inner.unique_members(container).into_iter().map(with_hash).collect();
        members.sort_unstable_by_key(|(hash, _)| *hash);
        Self::Object { hasher, members }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Array(points) => points.capacity() * size_of::<(u32, u32)>(),
            Self::Object { members, .. } => members.capacity() * size_of::<(u64, Child)>(),
        }
    }

    pub(super) fn element(&self, inner: &Inner, index: usize) -> Option<Child> {
        let Self::Array(points) = self else { return None };
        let point = points.get(index / STRIDE)?;
        Children::resume(inner, false, *point).nth(index % STRIDE)
    }

    pub(super) fn member(&self, inner: &Inner, key: &str) -> Option<Spot> {
        let Self::Object { hasher, members } = self else { return None };
        let wanted = hasher.hash_one(key.as_bytes());
        let first = members.partition_point(|(hash, _)| *hash < wanted);
        let same = members[first..].iter().take_while(|(hash, _)| *hash == wanted);
        let mut named = same.filter(|(_, child)| says(inner.raw(child.key), key.as_bytes()));
        named.next().map(|(_, child)| child.value)
    }

    fn member_count(&self) -> Option<usize> {
        match self {
            Self::Array(_) => None,
            Self::Object { members, .. } => Some(members.len()),
        }
    }
}

impl Inner {
    /// The members of an object, each key once, with its last value, in the order of the first.
    pub(super) fn unique_members(&self, container: u32) -> Vec<Child> {
        let mut members = Vec::with_capacity(self.containers[container as usize].count as usize);
        let mut seen = HashMap::with_capacity(members.capacity());
        for child in self.children(container) {
            match seen.entry(unescape(self.raw(child.key))) {
                Entry::Vacant(new) => {
                    new.insert(members.len());
                    members.push(child);
                }
                Entry::Occupied(before) => members[*before.get()] = child,
            }
        }
        members
    }

    /// How many different keys an object has.
    pub(super) fn member_count(&self, container: u32) -> usize {
        let lookup = self.lookup(container);
        let counted = lookup.and_then(|lookup| lookup.member_count());
        counted.unwrap_or_else(|| self.unique_members(container).len())
    }

    /// Where a key stands that its object has had before.
    pub(super) fn repeated_key(&self, container: u32) -> Option<usize> {
        let mut seen = std::collections::HashSet::new();
        let repeated = |child: &Child| !seen.insert(unescape(self.raw(child.key)));
        self.children(container).find(repeated).map(|child| child.start())
    }
}
