//! Numbers in text: where they end, and what they are, to the last bit.
#![expect(
    clippy::inline_always,
    reason = "called for each of millions of numbers: benches/rust/json.rs embeddings"
)]

/// Where the number that begins at `at` ends; none if it is none (RFC 8259, section 6).
#[inline]
pub(super) fn number_end(text: &[u8], at: usize) -> Option<usize> {
    if let Some(short) = Short::read(text, at) {
        return Some(short.end);
    }
    any_number_end(text, at)
}

pub(super) fn any_number_end(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + usize::from(text[at] == b'-');
    at = match text.get(at)? {
        b'0' => at + 1,
        b'1'..=b'9' => digits_end(text, at + 1),
        _ => return None,
    };
    if text.get(at) == Some(&b'.') {
        at = some_digits_end(text, at + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        at += 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        at = some_digits_end(text, at)?;
    }
    Some(at)
}

fn some_digits_end(text: &[u8], start: usize) -> Option<usize> {
    let end = digits_end(text, start);
    (end > start).then_some(end)
}

#[inline]
fn digits_end(text: &[u8], mut at: usize) -> usize {
    while let Some(eight) = eight_at(text, at) {
        let digits = leading_digits(eight);
        at += digits;
        if digits < 8 {
            return at;
        }
    }
    at + text[at.min(text.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count()
}

#[inline]
fn eight_at(text: &[u8], at: usize) -> Option<u64> {
    let eight = text.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(eight.try_into().expect("eight bytes")))
}

/// How many of the eight bytes are digits before the first that is none.
#[inline]
fn leading_digits(eight: u64) -> usize {
    // A digit is 0x30 to 0x39: with those taken off, what is left and that plus 0x76 have no high bit.
    let off = eight ^ 0x3030_3030_3030_3030;
    let not_digit = (off | ((off & 0x7F7F_7F7F_7F7F_7F7F) + 0x7676_7676_7676_7676)) & 0x8080_8080_8080_8080;
    (not_digit.trailing_zeros() / 8) as usize
}

/// The number that eight digits write.
#[inline]
fn eight_digits(eight: u64) -> u64 {
    // Pairs, then fours, then all eight (simdjson's parse_eight_digits_unrolled).
    let digits = eight ^ 0x3030_3030_3030_3030;
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let upper = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(0x000F_4240_0000_0064);
    let lower = (pairs >> 16 & 0x0000_00FF_0000_00FF).wrapping_mul(0x0000_2710_0000_0001);
    upper.wrapping_add(lower) >> 32
}

/// A number such as most of those in embeddings are: one digit, a point, one to eight digits. Read without a
/// branch that depends on how many: benches/rust/json.rs open/embeddings.
struct Short {
    negative: bool,
    mantissa: u64,
    /// Digits behind the point.
    digits: usize,
    end: usize,
}

impl Short {
    /// The longest, and one more byte that ends it.
    const ROOM: usize = 12;

    /// The number at `at`, if it is such a one and not the last of the text.
    #[inline(always)]
    fn read(text: &[u8], at: usize) -> Option<Self> {
        let room: &[u8; Self::ROOM] = text.get(at..at.checked_add(Self::ROOM)?)?.try_into().ok()?;
        let negative = room[0] == b'-';
        let sign = usize::from(negative);
        let (whole, point) = (room[sign].wrapping_sub(b'0'), room[sign + 1]);
        let eight = u64::from_le_bytes(*room[sign + 2..].first_chunk()?);
        let digits = leading_digits(eight);
        if whole > 9 || point != b'.' || digits == 0 {
            return None;
        }
        let behind = room.get(sign + 2 + digits)?;
        if matches!(behind, b'0'..=b'9' | b'e' | b'E') {
            return None;
        }
        let mantissa = u64::from(whole) * GROWN_BY[digits] + eight_digits(padded(eight, digits));
        Some(Self { negative, mantissa, digits, end: at + sign + 2 + digits })
    }

    #[inline(always)]
    fn double(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "at most nine digits")]
        let size = self.mantissa as f64 / EXACT_POWERS[self.digits];
        if self.negative { -size } else { size }
    }

    /// For at most 2^24 as mantissa.
    #[inline(always)]
    fn single(&self) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "at most 2^24")]
        let digits = self.mantissa as f32;
        #[expect(clippy::cast_possible_truncation, reason = "10^8 is exact in single precision too")]
        let size = digits / EXACT_POWERS[self.digits] as f32;
        if self.negative { -size } else { size }
    }
}

/// Eight digits, of which zeros come first, of the first `digits` digits of `eight`: one to eight.
#[inline(always)]
fn padded(eight: u64, digits: usize) -> u64 {
    const ZEROS: [u64; 9] = {
        let mut zeros = [0; 9];
        let mut digits = 1;
        while digits < 8 {
            zeros[digits] = 0x3030_3030_3030_3030 >> (8 * digits);
            digits += 1;
        }
        zeros
    };
    eight << (64 - 8 * digits) | ZEROS[digits]
}

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number<'t> {
    /// A whole number without fraction or exponent.
    Signed(i64),
    /// The same, beyond what the first can hold.
    Unsigned(u64),
    /// The same, beyond 64 bits: its digits, with the sign.
    Large(&'t str),
    /// A number with a fraction or an exponent, rounded to the nearest double; infinite if none is near.
    Float(f64),
}

/// A number taken apart: its digits as a whole number, as far as 64 bits hold them.
struct Parts {
    negative: bool,
    /// The digits, if there are at most 19.
    mantissa: Option<u64>,
    /// The power of ten that the digits are to be multiplied with.
    exponent: i64,
    is_whole: bool,
    end: usize,
}

/// Every power of ten that a double holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// The number at `at` of a valid text, and where it ends.
#[inline]
pub(super) fn number_at(text: &[u8], at: usize) -> (Number<'_>, usize) {
    if let Some(short) = Short::read(text, at) {
        return (Number::Float(short.double()), short.end);
    }
    let parts = Parts::read(text, at);
    let number = if parts.is_whole { parts.whole(text, at) } else { Number::Float(parts.double(text, at)) };
    (number, parts.end)
}

/// The number at `at`, which is a digit or a minus, and where it ends; none if it is none (RFC 8259, section 6).
#[inline]
pub(super) fn checked_number(text: &[u8], at: usize) -> Option<(Number<'_>, usize)> {
    if let Some(short) = Short::read(text, at) {
        return Some((Number::Float(short.double()), short.end));
    }
    if let Some(small) = small_at(text, at) {
        return Some(small);
    }
    let end = any_number_end(text, at)?;
    // Of 01, the number ends behind the zero, and reading digits does not.
    Some(number_at(text, at)).filter(|(_, read)| *read == end)
}

/// A whole number of one to seven digits without a sign, if there is one at `at`, and not last in the text.
#[inline(always)]
fn small_at(text: &[u8], at: usize) -> Option<(Number<'_>, usize)> {
    let eight = eight_at(text, at)?;
    let digits = leading_digits(eight);
    let behind = text.get(at + digits)?;
    let zero_in_front = text[at] == b'0' && digits > 1;
    if digits == 0 || digits == 8 || zero_in_front || matches!(behind, b'.' | b'e' | b'E') {
        return None;
    }
    let number = eight_digits(padded(eight, digits)).cast_signed();
    Some((Number::Signed(number), at + digits))
}

/// The double nearest to the number at `at` of a valid text, and where the number ends.
#[inline]
pub(super) fn double_at(text: &[u8], at: usize) -> (f64, usize) {
    if let Some(short) = Short::read(text, at) {
        return (short.double(), short.end);
    }
    let parts = Parts::read(text, at);
    (parts.double(text, at), parts.end)
}

/// The single-precision number nearest to the number at `at` of a valid text (not the nearest to its nearest
/// double, which may be another), and where the number ends.
#[inline]
pub(super) fn single_at(text: &[u8], at: usize) -> (f32, usize) {
    // By way of a double it would be rounded twice, so only digits that a single holds exactly go this way.
    if let Some(short) = Short::read(text, at)
        && short.mantissa <= 1 << 24
    {
        return (short.single(), short.end);
    }
    let parts = Parts::read(text, at);
    (parts.single(text, at), parts.end)
}

impl Parts {
    #[inline]
    fn read(text: &[u8], start: usize) -> Self {
        let negative = text[start] == b'-';
        let mut at = start + usize::from(negative);
        let mut mantissa = 0_u64;
        let first = at;
        at = read_digits(text, at, &mut mantissa);
        let mut digits = at - first;
        let (mut exponent, mut is_whole) = (0_i64, true);
        if text.get(at) == Some(&b'.') {
            is_whole = false;
            let fraction = at + 1;
            at = read_digits(text, fraction, &mut mantissa);
            digits += at - fraction;
            exponent = -((at - fraction) as u64).cast_signed();
        }
        if let Some(b'e' | b'E') = text.get(at) {
            is_whole = false;
            let (written, end) = read_exponent(text, at + 1);
            exponent += written;
            at = end;
        }
        if digits > 19 {
            // Zeros in front, as in 0.000…01, are no digits that count.
            let counting = text[first..at].iter().filter(|byte| **byte != b'.');
            let zeros = counting.take_while(|byte| **byte == b'0').count();
            digits -= zeros.min(digits);
        }
        Self { negative, mantissa: (digits <= 19).then_some(mantissa), exponent, is_whole, end: at }
    }

    fn whole<'t>(&self, text: &'t [u8], start: usize) -> Number<'t> {
        match (self.mantissa, self.negative) {
            (Some(digits), false) => i64::try_from(digits).map_or(Number::Unsigned(digits), Number::Signed),
            (Some(digits), true) if digits <= 1 << 63 => Number::Signed(digits.wrapping_neg().cast_signed()),
            _ => {
                let digits = std::str::from_utf8(&text[start..self.end]).expect("digits are ASCII");
                digits.parse().map_or(Number::Large(digits), Number::Unsigned)
            }
        }
    }

    #[inline]
    fn double(&self, text: &[u8], start: usize) -> f64 {
        // Both the digits and the power are doubles, so that one operation rounds once (Clinger's fast path).
        if let Some(digits) = self.mantissa
            && digits <= 1 << 53
            && self.exponent.unsigned_abs() < EXACT_POWERS.len() as u64
        {
            #[expect(clippy::cast_precision_loss, reason = "at most 2^53")]
            let digits = digits as f64;
            #[expect(clippy::cast_possible_truncation, reason = "below 23")]
            let power = EXACT_POWERS[self.exponent.unsigned_abs() as usize];
            let size = if self.exponent < 0 { digits / power } else { digits * power };
            return if self.negative { -size } else { size };
        }
        fast_float2::parse(&text[start..self.end]).expect("the text is valid")
    }

    #[inline]
    fn single(&self, text: &[u8], start: usize) -> f32 {
        if let Some(digits) = self.mantissa
            && digits <= 1 << 24
            && self.exponent.unsigned_abs() <= 10
        {
            #[expect(clippy::cast_precision_loss, reason = "at most 2^24")]
            let digits = digits as f32;
            #[expect(clippy::cast_possible_truncation, reason = "10^10 is exact in single precision too")]
            let power = EXACT_POWERS[self.exponent.unsigned_abs() as usize] as f32;
            let size = if self.exponent < 0 { digits / power } else { digits * power };
            return if self.negative { -size } else { size };
        }
        fast_float2::parse(&text[start..self.end]).expect("the text is valid")
    }
}

/// Powers of ten by which a number grows with so many digits more.
const GROWN_BY: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// Read digits on, into a number that may overflow; the caller counts them.
#[inline]
fn read_digits(text: &[u8], mut at: usize, number: &mut u64) -> usize {
    while let Some(eight) = eight_at(text, at) {
        let digits = leading_digits(eight);
        if digits == 8 {
            *number = number.wrapping_mul(100_000_000).wrapping_add(eight_digits(eight));
            at += 8;
            continue;
        }
        if digits > 0 {
            let last = eight_digits(padded(eight, digits));
            *number = number.wrapping_mul(GROWN_BY[digits]).wrapping_add(last);
        }
        return at + digits;
    }
    while let Some(digit @ b'0'..=b'9') = text.get(at) {
        *number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        at += 1;
    }
    at
}

/// The exponent that begins, with its sign, at `at`; one beyond all use if it is larger.
fn read_exponent(text: &[u8], at: usize) -> (i64, usize) {
    let negative = text.get(at) == Some(&b'-');
    let mut at = at + usize::from(matches!(text.get(at), Some(b'+' | b'-')));
    let mut exponent = 0_i64;
    while let Some(digit @ b'0'..=b'9') = text.get(at) {
        exponent =
            exponent.saturating_mul(10).saturating_add(i64::from(digit - b'0')).min(i64::from(i32::MAX));
        at += 1;
    }
    (if negative { -exponent } else { exponent }, at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Number<'_> {
        assert_eq!(number_end(text.as_bytes(), 0), Some(text.len()), "{text}");
        let (number, end) = number_at(text.as_bytes(), 0);
        assert_eq!(end, text.len(), "{text}");
        number
    }

    #[test]
    fn the_grammar_of_numbers_is_that_of_the_standard() {
        for text in ["0", "-0", "10", "-1.5", "1e5", "1E+5", "1e-05", "0.0", "123456789012345678901234567890"]
        {
            assert_eq!(number_end(text.as_bytes(), 0), Some(text.len()), "{text}");
        }
        for text in ["-", "+1", ".5", "-.5", "1.", "1.e5", "1e", "1e+", "-a", "e5"] {
            assert_eq!(number_end(text.as_bytes(), 0), None, "{text}");
        }
        assert_eq!(number_end(b"01", 0), Some(1));
        assert_eq!(number_end(b"12345678x", 0), Some(8));
    }

    #[test]
    fn whole_numbers_are_exact() {
        assert_eq!(number("-0"), Number::Signed(0));
        assert_eq!(number("9223372036854775807"), Number::Signed(i64::MAX));
        assert_eq!(number("-9223372036854775808"), Number::Signed(i64::MIN));
        assert_eq!(number("-9223372036854775809"), Number::Large("-9223372036854775809"));
        assert_eq!(number("9223372036854775808"), Number::Unsigned(1 << 63));
        assert_eq!(number("18446744073709551615"), Number::Unsigned(u64::MAX));
        assert_eq!(number("18446744073709551616"), Number::Large("18446744073709551616"));
        assert_eq!(number("99999999999999999999999"), Number::Large("99999999999999999999999"));
    }

    #[test]
    fn floats_at_the_edges_are_those_of_the_standard_library() {
        for text in [
            "-0.0",
            "1e400",
            "-1e400",
            "4.9e-324",
            "2.4703282292062327e-324",
            "2.4703282292062328e-324",
            "1.7976931348623157e308",
            "1.7976931348623159e308",
            "9007199254740993.0",
            "0.000000000000000000000000000000000000000000000000012345678901234567890",
            "0.30000000000000004",
            "123456789012345678901234567890.5",
            "1e-999999999999999999999",
            "0e999999999999999999999",
            "8.5e22",
            "1.00000000000000000000000000000000000000000001",
        ] {
            let expected: f64 = text.parse().unwrap();
            let Number::Float(found) = number(text) else { panic!("{text} is a float") };
            assert_eq!(found.to_bits(), expected.to_bits(), "{text}");
            let expected: f32 = text.parse().unwrap();
            assert_eq!(single_at(text.as_bytes(), 0).0.to_bits(), expected.to_bits(), "{text}");
        }
    }

    fn any_number() -> impl Strategy<Value = String> {
        let exponent = prop_oneof![Just(String::new()), "[eE][+-]?[0-9]{1,3}"];
        let fraction = prop_oneof![Just(String::new()), "\\.[0-9]{1,25}"];
        ("-?(0|[1-9][0-9]{0,24})", fraction, exponent)
            .prop_map(|(whole, fraction, exponent)| whole + &fraction + &exponent)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn numbers_are_those_of_the_standard_library(text in any_number(), behind in "[,\\] ]?") {
            let whole = text.clone() + &behind;
            prop_assert_eq!(number_end(whole.as_bytes(), 0), Some(text.len()));
            let (found, end) = number_at(whole.as_bytes(), 0);
            prop_assert_eq!(end, text.len());
            match found {
                Number::Signed(number) => prop_assert_eq!(Ok(number), text.parse()),
                Number::Unsigned(number) => prop_assert_eq!(Ok(number), text.parse()),
                Number::Large(digits) => {
                    prop_assert_eq!(digits, &text);
                    prop_assert!(text.parse::<i64>().is_err() && text.parse::<u64>().is_err());
                }
                Number::Float(number) => {
                    prop_assert!(text.contains(['.', 'e', 'E']));
                    prop_assert_eq!(number.to_bits(), text.parse::<f64>().unwrap().to_bits());
                }
            }
            prop_assert_eq!(double_at(whole.as_bytes(), 0).0.to_bits(), text.parse::<f64>().unwrap().to_bits());
            prop_assert_eq!(single_at(whole.as_bytes(), 0).0.to_bits(), text.parse::<f32>().unwrap().to_bits());
        }

        #[test]
        fn shortest_texts_of_doubles_come_back(bits in any::<u64>()) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            let text = format!("{number:?}");
            prop_assert_eq!(double_at(text.as_bytes(), 0).0.to_bits(), bits);
        }
    }
}
