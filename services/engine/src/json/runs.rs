//! Runs of numbers in arrays, 64 bytes at a time: most of what embeddings and series consist of.
//!
//! A block begins where a number begins, so it needs to know nothing of the one before. What is unusual, as exponents
//! and white space before a comma, ends a run; then numbers are read one by one.

use super::numbers::any_number_end;

/// Bytes that one bit mask speaks of.
const BLOCK: usize = 64;
/// Bytes after which a run ends, so that who wants to stop the reading is heard.
const MOST: usize = 256 << 10;

/// Numbers, each with a comma behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) count: u32,
    /// Behind the last comma.
    pub(super) end: usize,
}

/// The numbers from `at` on that are in one array, but not its last. There may be more.
pub(super) fn run_at(text: &[u8], at: usize) -> Run {
    let run = Run { count: 0, end: at };
    #[cfg(target_arch = "x86_64")]
    if super::avx2::is_there() {
        // SAFETY: the processor was just seen to have each feature that the function is compiled for.
        return unsafe { run_on_avx2(text, run) };
    }
    run
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn run_on_avx2(text: &[u8], mut run: Run) -> Run {
    let most = run.end.saturating_add(MOST);
    while run.end < most
        && let Some(block) = text.get(run.end..).and_then(|rest| rest.first_chunk())
    {
        let whole = wide::masks_of(block).whole_numbers_with_commas();
        if whole != 0 {
            run.count += whole.count_ones();
            run.end += BLOCK - whole.leading_zeros() as usize;
        } else if let Some(end) = unusual_number(text, run.end) {
            run.count += 1;
            run.end = end;
        } else {
            break;
        }
    }
    run
}

/// Behind the comma that follows the number at `at`, which may have an exponent and any length.
#[cold]
fn unusual_number(text: &[u8], at: usize) -> Option<usize> {
    let is_white_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let start = at + text[at..].iter().position(|byte| !is_white_space(byte))?;
    let end = any_number_end(text, start)?;
    (text.get(end) == Some(&b',')).then_some(end + 1)
}

/// One bit for each byte of a block.
#[derive(Clone, Copy)]
struct Masks {
    digit: u64,
    zero: u64,
    point: u64,
    minus: u64,
    comma: u64,
    white_space: u64,
}

impl Masks {
    /// The commas behind the numbers in front that are valid; none if not all up to the last of these commas are.
    #[inline]
    fn whole_numbers_with_commas(self) -> u64 {
        let Self { digit, zero, point, minus, comma, white_space } = self;
        let other = !(digit | point | minus | comma | white_space);
        let ends = comma & other.wrapping_sub(1) & !other;
        let kept = u64::MAX.checked_shr(ends.leading_zeros()).unwrap_or(0);
        let (after_digit, begins) = (digit << 1, (comma | white_space) << 1 | 1);
        // Adding the first digit of a fraction to all digits leaves a bit behind that fraction.
        let behind_fractions = digit.wrapping_add(point << 1 & digit) & !digit;
        let leading_zeros = zero & (begins | minus << 1);
        let wrong = (white_space | minus) & !begins
            | (point | comma) & !after_digit
            | (point | minus) << 1 & !digit
            | leading_zeros << 1 & digit
            | behind_fractions & point;
        if wrong & kept == 0 { ends } else { 0 }
    }
}

/// Which of the 64 bytes from `at` on are commas; none if there are not as many.
#[inline]
pub(super) fn commas_at(text: &[u8], at: usize) -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    use sse2::commas;
    Some(commas(text.get(at..)?.first_chunk()?))
}

/// The same on any processor.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn commas(block: &[u8; BLOCK]) -> u64 {
    block.iter().rev().fold(0, |mask, byte| mask << 1 | u64::from(*byte == b','))
}

/// What every such processor has.
#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8};

    use super::BLOCK;

    #[inline]
    pub(super) fn commas(block: &[u8; BLOCK]) -> u64 {
        let quarters = block.as_chunks::<16>().0;
        // SAFETY: every x86-64 processor has SSE2.
        let commas_of_16 = |quarter| unsafe { commas_of_16(quarter) };
        let bits = |quarter: usize| u64::from(commas_of_16(&quarters[quarter])) << (16 * quarter);
        bits(0) | bits(1) | bits(2) | bits(3)
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn commas_of_16(quarter: &[u8; 16]) -> u16 {
        // SAFETY: 16 bytes were just borrowed, and the load asks for no alignment.
        let bytes = unsafe { _mm_loadu_si128(std::ptr::from_ref(quarter).cast()) };
        let found = _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(b','.cast_signed())));
        u16::try_from(found).expect("one bit for each of 16 bytes")
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::{
        __m256i, _mm256_cmpeq_epi8, _mm256_min_epu8, _mm256_or_si256, _mm256_set1_epi8, _mm256_sub_epi8,
    };

    use super::super::avx2::{both, equal, halves_of};
    use super::{BLOCK, Masks};

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn masks_of(block: &[u8; BLOCK]) -> Masks {
        let [low, high] = halves_of(block);
        let is = |byte: u8| both([equal(low, byte), equal(high, byte)]);
        Masks {
            digit: both([digits(low), digits(high)]),
            zero: is(b'0'),
            point: is(b'.'),
            minus: is(b'-'),
            comma: is(b','),
            white_space: both([white_space(low), white_space(high)]),
        }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn digits(half: __m256i) -> __m256i {
        let off = _mm256_sub_epi8(half, _mm256_set1_epi8(b'0'.cast_signed()));
        _mm256_cmpeq_epi8(_mm256_min_epu8(off, _mm256_set1_epi8(9)), off)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn white_space(half: __m256i) -> __m256i {
        let blank = _mm256_or_si256(equal(half, b' '), equal(half, b'\t'));
        _mm256_or_si256(blank, _mm256_or_si256(equal(half, b'\n'), equal(half, b'\r')))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::numbers::number_end;
    use super::*;

    /// What is read one number after the other.
    fn slow_run(text: &[u8], start: usize) -> Run {
        let mut run = Run { count: 0, end: start };
        while text.len() - run.end >= BLOCK
            && let Some(end) = unusual_number(text, run.end)
        {
            run = Run { count: run.count + 1, end };
        }
        run
    }

    fn tokens() -> impl Strategy<Value = String> {
        let number = r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?";
        let odd = r"[-0-9.,eE+ \t\]\[x]{0,6}";
        let token = prop_oneof![12 => number, 8 => r"-?0\.[0-9]{1,8}", 1 => odd];
        let separator = prop_oneof![12 => Just(","), 3 => Just(", "), 1 => Just(",\n\t "), 1 => Just(" ,")];
        prop::collection::vec((token, separator), 1..60).prop_map(|tokens| {
            tokens.into_iter().flat_map(|(token, separator)| [token, separator.into()]).collect()
        })
    }

    proptest! {
        #[test]
        fn runs_are_what_single_numbers_are(tokens in tokens()) {
            let text = tokens + &"]".repeat(BLOCK);
            let (run, slow) = (run_at(text.as_bytes(), 0), slow_run(text.as_bytes(), 0));
            #[cfg(target_arch = "x86_64")]
            if super::super::avx2::is_there() {
                prop_assert_eq!(run, slow, "{}", text);
            }
            prop_assert!(run.count <= slow.count, "{}", text);
        }

        #[test]
        fn the_commas_of_every_processor_are_the_same(block in prop::collection::vec(prop_oneof![any::<u8>(), Just(b',')], BLOCK)) {
            let all: &[u8; BLOCK] = block.first_chunk().expect("as many as asked for");
            prop_assert_eq!(commas_at(&block, 0), Some(commas(all)));
        }
    }

    #[test]
    fn a_run_ends_before_white_space_without_end() {
        let text = format!("1,2,{}", " ".repeat(2 * BLOCK));
        assert!(run_at(text.as_bytes(), 0).end <= 4);
    }

    #[test]
    fn what_is_no_number_is_not_in_a_run() {
        for wrong in
            ["01", "-", "-01", ".5", "5.", "1.2.3", "1-2", "--1", "+1", "1 2", "1e", "0x1", "", "-.5", "1. 5"]
        {
            for before in 0..70 {
                let text = format!("{}{wrong},{}", "7,".repeat(before), "7,".repeat(40));
                let run = run_at(text.as_bytes(), 0);
                assert!(run.end <= 2 * before, "{wrong} after {before}: {run:?}");
                assert_eq!(
                    number_end(text.as_bytes(), 2 * before).filter(|end| text.as_bytes()[*end] == b','),
                    None
                );
            }
        }
    }
}
