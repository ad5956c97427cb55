//! Where the structure of a text is: the first of two stages, by SIMD.
//!
//! The [`Scanner`] looks at 64 bytes at a time, makes one bit for each byte that matters (brackets, commas,
//! colons, both quotes of every string, the first byte of every other value), and hands out their positions
//! in order. Strings are checked on the way: UTF-8, escapes, surrogate pairs, no control characters. What
//! follows what is the business of the second stage, [`grammar`](super::grammar).
//!
//! Positions are made for 4 KiB at a time, so they stay in the cache and nothing grows with the text.
#![expect(
    clippy::inline_always,
    reason = "only what is inlined into the function for AVX2 is compiled for AVX2"
)]

use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes that one bit mask speaks of.
const BLOCK: usize = 64;
/// Bytes whose positions are made at a time.
const CHUNK: usize = 4 << 10;
/// Bytes whose positions are made first behind what was skipped, as that may be followed by more to skip.
const FIRST_CHUNK: usize = 2 * BLOCK;
/// Positions are written eight at a time, so some are written past the last.
const SLACK: usize = 8;
/// Bytes checked for UTF-8 at a time: few enough to be in the cache when they are scanned.
const UTF8_PIECE: usize = 32 << 10;

/// Hands out the positions of all that matters in a text, in order.
pub(super) struct Scanner<'t> {
    text: &'t [u8],
    cancelled: &'t AtomicBool,
    positions: Box<[u32]>,
    next: usize,
    len: usize,
    /// Bytes whose positions were made.
    scanned: usize,
    /// Bytes whose positions are made next.
    chunk: usize,
    /// Bytes known to be UTF-8.
    checked: usize,
    carry: Carry,
    /// Where the `\u` of a low surrogate has to be, after a high one.
    low_surrogate_at: Option<usize>,
    stop: Option<ScanStop>,
}

/// Why there are no more positions although the text goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanStop {
    /// A string has what no string may have, or has no end.
    Malformed,
    /// Somebody asked to stop.
    Cancelled,
}

/// What one block tells the next.
#[derive(Clone, Copy)]
struct Carry {
    /// Bit 0: the first byte is escaped by a backslash before it.
    escaped: u64,
    /// All ones inside a string.
    in_string: u64,
    /// Bit 0: the byte before is white space or structure, or there is none.
    after_structure: u64,
}

impl Carry {
    /// At the start, and behind a comma or white space outside of strings.
    const BETWEEN_VALUES: Self = Self { escaped: 0, in_string: 0, after_structure: 1 };
}

/// One bit for each byte of a block.
#[derive(Clone, Copy)]
struct Masks {
    quote: u64,
    backslash: u64,
    /// Below 0x20.
    control: u64,
    /// Brackets, comma, colon; inside of strings too.
    structure: u64,
    white_space: u64,
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t [u8], cancelled: &'t AtomicBool) -> Self {
        debug_assert!(u32::try_from(text.len()).is_ok(), "the caller bounds the text");
        Self {
            text,
            cancelled,
            positions: vec![0; CHUNK + SLACK].into(),
            next: 0,
            len: 0,
            scanned: 0,
            chunk: CHUNK,
            checked: 0,
            carry: Carry::BETWEEN_VALUES,
            low_surrogate_at: None,
            stop: None,
        }
    }

    /// The next position that matters; none at the end, or when [`stop`](Self::stop) says so.
    #[inline]
    pub(super) fn next(&mut self) -> Option<usize> {
        if self.next == self.len && !self.refill() {
            return None;
        }
        let position = self.positions[self.next];
        self.next += 1;
        Some(position as usize)
    }

    /// Leave out all up to `at`, which is behind a comma between values, and before which there is only ASCII.
    #[inline]
    pub(super) fn skip_to(&mut self, at: usize) {
        if at < self.scanned {
            let positions = &self.positions[self.next..self.len];
            self.next += positions.partition_point(|position| (*position as usize) < at);
            return;
        }
        self.next = self.len;
        self.scanned = at;
        self.checked = self.checked.max(at);
        self.carry = Carry::BETWEEN_VALUES;
        self.chunk = FIRST_CHUNK;
    }

    /// Why the positions ended early, if they did.
    pub(super) fn stop(&self) -> Option<ScanStop> {
        self.stop
    }

    #[cold]
    #[inline(never)]
    fn refill(&mut self) -> bool {
        self.next = 0;
        self.len = 0;
        while self.len == 0 {
            if self.stop.is_some() {
                return false;
            }
            if self.cancelled.load(Ordering::Relaxed) {
                self.stop = Some(ScanStop::Cancelled);
                return false;
            }
            if self.scanned == self.text.len() {
                if self.carry.in_string != 0 {
                    self.stop = Some(ScanStop::Malformed);
                }
                return false;
            }
            // What was found before a fault is still handed out: it does no harm, and the fault stops later.
            if !self.check_utf8() || !self.scan_chunk() {
                self.stop = Some(ScanStop::Malformed);
            }
        }
        true
    }

    /// Check the bytes of the next chunk, and some more, for UTF-8.
    fn check_utf8(&mut self) -> bool {
        let wanted = (self.scanned + CHUNK).min(self.text.len());
        while self.checked < wanted {
            let mut end = (self.checked + UTF8_PIECE).min(self.text.len());
            // Not within a character: its first byte is at most three back.
            let start_of_character = |at: usize| self.text[at] & 0xC0 != 0x80;
            if end < self.text.len() {
                end = (end - 3..=end).rev().find(|at| start_of_character(*at)).unwrap_or(end);
            }
            if simdutf8::basic::from_utf8(&self.text[self.checked..end]).is_err() {
                return false;
            }
            self.checked = end;
        }
        true
    }

    fn scan_chunk(&mut self) -> bool {
        #[cfg(target_arch = "x86_64")]
        if super::avx2::is_there() {
            // SAFETY: the processor was just seen to have each feature that the function is compiled for.
            return unsafe { self.scan_chunk_avx2() };
        }
        self.scan_chunk_by(masks_of)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn scan_chunk_avx2(&mut self) -> bool {
        self.scan_chunk_by(|block| wide::masks_of(block))
    }

    #[inline(always)]
    fn scan_chunk_by(&mut self, masks_of: impl Fn(&[u8; BLOCK]) -> Masks) -> bool {
        let start = self.scanned;
        let end = (start + self.chunk).min(self.text.len());
        self.scanned = end;
        self.chunk = (2 * self.chunk).min(CHUNK);
        let (blocks, rest) = self.text[start..end].as_chunks::<BLOCK>();
        let mut at = start;
        for block in blocks {
            if !self.take_block(at, masks_of(block)) {
                return false;
            }
            at += BLOCK;
        }
        if rest.is_empty() {
            return true;
        }
        let mut last = [b' '; BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        self.take_block(at, masks_of(&last))
    }

    /// Note the positions of one block.
    #[inline(always)]
    fn take_block(&mut self, at: usize, masks: Masks) -> bool {
        let escaped = if masks.backslash == 0 {
            std::mem::take(&mut self.carry.escaped)
        } else {
            escaped_by(masks.backslash, &mut self.carry.escaped)
        };
        let quote = masks.quote & !escaped;
        let in_string = prefix_xor(quote) ^ self.carry.in_string;
        self.carry.in_string = 0_u64.wrapping_sub(in_string >> 63);
        let structure = masks.structure & !in_string;
        // The first byte of what is neither string nor structure: numbers, true, false, null, and nonsense.
        let ends_before = structure | (masks.white_space & !in_string) | (quote & !in_string);
        let after_structure = ends_before << 1 | self.carry.after_structure;
        self.carry.after_structure = ends_before >> 63;
        let begins = after_structure & !(masks.white_space | structure | quote | in_string);
        self.note(at, structure | quote | begins);
        if masks.control & in_string != 0 {
            return false;
        }
        escaped == 0 || self.check_escapes(at, escaped)
    }

    /// Append the positions of the bits that are set.
    #[inline(always)]
    fn note(&mut self, at: usize, mut bits: u64) {
        let base = u32::try_from(at).expect("texts are below 4 GiB");
        let count = bits.count_ones() as usize;
        let mut written = 0;
        while written < count {
            let from = self.len + written;
            for slot in &mut self.positions[from..from + SLACK] {
                *slot = base.wrapping_add(bits.trailing_zeros());
                bits &= bits.wrapping_sub(1);
            }
            written += SLACK;
        }
        self.len += count;
    }

    /// Check what is behind the backslashes. Those outside of strings are refused by the second stage.
    #[cold]
    fn check_escapes(&mut self, at: usize, mut escaped: u64) -> bool {
        while escaped != 0 {
            let position = at + escaped.trailing_zeros() as usize;
            escaped &= escaped - 1;
            let valid = match self.text.get(position) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => true,
                Some(b'u') => self.check_unicode_escape(position),
                // Past the end, where no string ended.
                _ => false,
            };
            if !valid {
                return false;
            }
        }
        true
    }

    fn check_unicode_escape(&mut self, position: usize) -> bool {
        let expected_low = self.low_surrogate_at.take();
        let Some(unit) = hex4(self.text, position + 1) else { return false };
        match unit {
            0xD800..=0xDBFF => {
                let follows = self.text.get(position + 5..position + 7) == Some(br"\u");
                let low = hex4(self.text, position + 7);
                self.low_surrogate_at = Some(position + 6);
                expected_low.is_none() && follows && low.is_some_and(|low| (0xDC00..=0xDFFF).contains(&low))
            }
            0xDC00..=0xDFFF => expected_low == Some(position),
            _ => true,
        }
    }
}

/// The number that the four hexadecimal digits at `at` write.
pub(super) fn hex4(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at..at.checked_add(4)?)?;
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}

/// The bits behind an odd number of backslashes.
#[inline(always)]
fn escaped_by(backslash: u64, carried: &mut u64) -> u64 {
    const EVEN: u64 = 0x5555_5555_5555_5555;
    // An escaped backslash escapes nothing (simdjson's find_escaped).
    let backslash = backslash & !*carried;
    let follows_escape = backslash << 1 | *carried;
    let odd_starts = backslash & !EVEN & !follows_escape;
    let (even_runs, overflow) = odd_starts.overflowing_add(backslash);
    *carried = u64::from(overflow);
    (EVEN ^ (even_runs << 1)) & follows_escape
}

/// Each bit is the exclusive or of all bits up to it: from a quote on, until the next.
#[inline(always)]
fn prefix_xor(mut bits: u64) -> u64 {
    for distance in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << distance;
    }
    bits
}

/// The masks of a block on any processor.
fn masks_of(block: &[u8; BLOCK]) -> Masks {
    let mask = |matches: fn(u8) -> bool| {
        block.iter().rev().fold(0_u64, |mask, byte| mask << 1 | u64::from(matches(*byte)))
    };
    Masks {
        quote: mask(|byte| byte == b'"'),
        backslash: mask(|byte| byte == b'\\'),
        control: mask(|byte| byte < 0x20),
        structure: mask(|byte| matches!(byte, b'{' | b'}' | b'[' | b']' | b',' | b':')),
        white_space: mask(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')),
    }
}

/// The masks of a block by 32 bytes at a time.
#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::{
        __m256i, _mm_loadu_si128, _mm256_broadcastsi128_si256, _mm256_cmpeq_epi8, _mm256_max_epu8,
        _mm256_or_si256, _mm256_set1_epi8, _mm256_shuffle_epi8,
    };

    use super::super::avx2::{both, equal, halves_of};
    use super::{BLOCK, Masks};

    /// By the low half of a byte, the only white space with that half; else a byte with another half.
    const WHITE_SPACE: [u8; 16] =
        [b' ', 100, 100, 100, 17, 100, 113, 2, 100, b'\t', b'\n', 112, 100, b'\r', 100, 100];
    /// By the low half of a byte, the only structure with that half once `[` and `]` are made `{` and `}`.
    /// 0x0C and 0x1A pass for `,` and `:`: the second stage looks at the byte and refuses them.
    const STRUCTURE: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b':', b'{', b',', b'}', 0, 0];

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn masks_of(block: &[u8; BLOCK]) -> Masks {
        let [low, high] = halves_of(block);
        let (white_space, structure) = (table(&WHITE_SPACE), table(&STRUCTURE));
        let is = |byte: u8| both([equal(low, byte), equal(high, byte)]);
        let found = |half: __m256i, table: __m256i, case: __m256i| {
            _mm256_cmpeq_epi8(_mm256_or_si256(half, case), _mm256_shuffle_epi8(table, half))
        };
        let find = |table, case| both([found(low, table, case), found(high, table, case)]);
        let (as_it_is, curly) = (_mm256_set1_epi8(0), _mm256_set1_epi8(0x20));
        Masks {
            quote: is(b'"'),
            backslash: is(b'\\'),
            control: both([below_space(low), below_space(high)]),
            structure: find(structure, curly),
            white_space: find(white_space, as_it_is),
        }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn table(entries: &[u8; 16]) -> __m256i {
        // SAFETY: the array has the 16 bytes that are loaded, and the load asks for no alignment.
        let once = unsafe { _mm_loadu_si128(std::ptr::from_ref(entries).cast()) };
        _mm256_broadcastsi128_si256(once)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn below_space(half: __m256i) -> __m256i {
        let most = _mm256_set1_epi8(0x1F);
        _mm256_cmpeq_epi8(_mm256_max_epu8(half, most), most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn positions(text: &[u8]) -> (Vec<usize>, Option<ScanStop>) {
        let running = AtomicBool::new(false);
        let mut scanner = Scanner::new(text, &running);
        let found = std::iter::from_fn(|| scanner.next()).collect();
        (found, scanner.stop())
    }

    #[test]
    fn what_matters_is_found_in_order() {
        let text = br#"{"a\"b": [1, -2.5 ,true],"c":""}"#;
        let expected = [0, 1, 6, 7, 9, 10, 11, 13, 18, 19, 23, 24, 25, 27, 28, 29, 30, 31];
        assert_eq!(positions(text), (expected.to_vec(), None));
    }

    #[test]
    fn strings_are_checked() {
        for text in [
            &b"\"\x1f\""[..],
            b"\"\xff\"",
            br#""\x""#,
            br#""\u12G4""#,
            br#""\ud800""#,
            br#""\udc00""#,
            br#""\ud800\ud800\udc00""#,
            br#""\ud800x\udc00""#,
            b"\"never ends",
            br#""never ends\"#,
            br#""never ends\""#,
        ] {
            assert_eq!(positions(text).1, Some(ScanStop::Malformed), "{}", text.escape_ascii());
        }
        for text in [&br#""\ud83d\ude00\u00e9\"\\\/\b\f\n\r\t""#[..], br#""\\ud800""#, "\"é漢😀\"".as_bytes()]
        {
            assert_eq!(positions(text), (vec![0, text.len() - 1], None), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_scan_can_be_cancelled() {
        let cancelled = AtomicBool::new(true);
        let mut scanner = Scanner::new(b"[]", &cancelled);
        assert_eq!((scanner.next(), scanner.stop()), (None, Some(ScanStop::Cancelled)));
    }

    proptest! {
        #[test]
        fn the_masks_of_every_processor_are_the_same(block in prop::collection::vec(any::<u8>(), BLOCK)) {
            let block: [u8; BLOCK] = block.try_into().expect("as many as asked for");
            let bits = |masks: Masks| [masks.quote, masks.backslash, masks.control, masks.white_space];
            // What only passes for structure is control characters, which the second stage refuses.
            let structure = |masks: Masks| masks.structure & !masks.control;
            let plain = masks_of(&block);
            #[cfg(target_arch = "x86_64")]
            if super::super::avx2::is_there() {
                // SAFETY: the processor was just seen to have it.
                let fast = unsafe { wide::masks_of(&block) };
                prop_assert_eq!(bits(fast), bits(plain));
                prop_assert_eq!(structure(fast), structure(plain));
            }
        }

        #[test]
        fn runs_of_backslashes_escape_as_one_by_one(runs in prop::collection::vec((0_usize..70, 0_usize..70), 0..20)) {
            let text: String = runs.iter().map(|(slashes, others)| r"\".repeat(*slashes) + &"n".repeat(*others)).collect();
            let mut expected = Vec::new();
            let mut is_escaped = false;
            for (at, byte) in text.bytes().enumerate() {
                if is_escaped {
                    expected.push(at);
                }
                is_escaped = byte == b'\\' && !is_escaped;
            }
            let (mut found, mut carried) = (Vec::new(), 0);
            for (index, block) in text.as_bytes().chunks(BLOCK).enumerate() {
                let backslash = block.iter().rev().fold(0_u64, |mask, byte| mask << 1 | u64::from(*byte == b'\\'));
                let mut escaped = escaped_by(backslash, &mut carried);
                while escaped != 0 {
                    found.push(index * BLOCK + escaped.trailing_zeros() as usize);
                    escaped &= escaped - 1;
                }
            }
            found.retain(|at| *at < text.len());
            prop_assert_eq!(found, expected);
        }
    }
}
