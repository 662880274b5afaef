//! Amounts and quantities: i128 counts of nano-units (10⁻⁹), never floats.
//!
//! Text is strict ASCII so that no other reader of the same bytes can see another number: no sign, exponent,
//! underscore, white space or digits of other scripts, and never more decimals than the scale keeps.

/// Nano-units in one unit.
pub const NANO: i128 = 1_000_000_000;

/// Decimals kept: the scale of NUMERIC(38, 9).
pub const FRACTION_DIGITS: usize = 9;

/// Integer digits of a usage quantity.
pub const QUANTITY_INTEGER_DIGITS: usize = 18;

/// Integer digits of an amount in NUMERIC(38, 9); the largest count that `parse_decimal_nano` takes.
pub const AMOUNT_INTEGER_DIGITS: usize = 29;

/// Why a text is not a decimal of this system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not digits with at most one point between them.
    #[error("not a plain decimal number")]
    Malformed,
    /// Never rounded silently.
    #[error("more than 9 decimals")]
    TooPrecise,
    /// Judged by its length, before any arithmetic.
    #[error("too many integer digits")]
    TooLarge,
}

/// Reads `digits[.digits]` as nano-units.
///
/// At least one digit stands on each side of a point, at most `max_integer_digits` (leading zeros count, and no limit
/// above 29 is honoured) before and 9 behind it. The length is judged before any arithmetic.
pub fn parse_decimal_nano(text: &[u8], max_integer_digits: usize) -> Result<i128, DecimalError> {
    let integer_length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (integer, rest) = text.split_at_checked(integer_length).ok_or(DecimalError::Malformed)?;
    if integer.is_empty() {
        return Err(DecimalError::Malformed);
    }
    let fraction = match rest.split_first() {
        None => &[][..],
        Some((b'.', fraction)) if !fraction.is_empty() && fraction.iter().all(u8::is_ascii_digit) => fraction,
        Some(_) => return Err(DecimalError::Malformed),
    };
    if fraction.len() > FRACTION_DIGITS {
        return Err(DecimalError::TooPrecise);
    }
    if integer_length > max_integer_digits.min(AMOUNT_INTEGER_DIGITS) {
        return Err(DecimalError::TooLarge);
    }
    let missing_digits = FRACTION_DIGITS.saturating_sub(fraction.len());
    let fraction_nano = fraction.iter().chain(std::iter::repeat_n(&b'0', missing_digits)).fold(0_u32, push_digit_u32);
    // Eighteen digits fit 64 bits, where a multiplication is several times cheaper than in 128.
    let units = if integer_length <= 18 {
        i128::from(integer.iter().fold(0_u64, push_digit_u64))
    } else {
        integer.iter().fold(0_i128, |sum, digit| sum.wrapping_mul(10).wrapping_add(i128::from(digit.wrapping_sub(b'0'))))
    };
    units.checked_mul(NANO).and_then(|nano| nano.checked_add(i128::from(fraction_nano))).ok_or(DecimalError::TooLarge)
}

/// Like `parse_decimal_nano`, with an optional leading minus: what PostgreSQL writes for a balance below zero.
pub fn parse_signed_decimal_nano(text: &[u8], max_integer_digits: usize) -> Result<i128, DecimalError> {
    match text.split_first() {
        Some((b'-', magnitude)) => parse_decimal_nano(magnitude, max_integer_digits)?.checked_neg().ok_or(DecimalError::TooLarge),
        _ => parse_decimal_nano(text, max_integer_digits),
    }
}

// The digits were counted before: at most 9 and 18 of them, so the wrapping operations cannot wrap.
fn push_digit_u32(sum: u32, digit: &u8) -> u32 {
    sum.wrapping_mul(10).wrapping_add(u32::from(digit.wrapping_sub(b'0')))
}

fn push_digit_u64(sum: u64, digit: &u8) -> u64 {
    sum.wrapping_mul(10).wrapping_add(u64::from(digit.wrapping_sub(b'0')))
}

/// The shortest decimal text of nano-units: no trailing zeros, no point without decimals, `-` only below zero.
pub fn format_nano(nano: i128) -> String {
    let mut text = Vec::with_capacity(24);
    write_nano(&mut text, nano);
    // Only ASCII was written, so the conversion cannot fail.
    String::from_utf8(text).unwrap_or_default()
}

/// `format_nano` appended to a buffer.
pub fn write_nano(buffer: &mut Vec<u8>, nano: i128) {
    if nano < 0 {
        buffer.push(b'-');
    }
    let magnitude = nano.unsigned_abs();
    let units = magnitude / NANO.unsigned_abs();
    match u64::try_from(units) {
        Ok(small) => buffer.extend_from_slice(itoa::Buffer::new().format(small).as_bytes()),
        Err(_) => buffer.extend_from_slice(itoa::Buffer::new().format(units).as_bytes()),
    }
    let mut fraction = u32::try_from(magnitude % NANO.unsigned_abs()).unwrap_or_default();
    if fraction == 0 {
        return;
    }
    buffer.push(b'.');
    let mut place = 100_000_000_u32;
    while fraction > 0 && place > 0 {
        buffer.push(b'0'.wrapping_add(u8::try_from(fraction / place).unwrap_or_default()));
        fraction %= place;
        place /= 10;
    }
}

/// `left + right`, None when the sum leaves i128.
pub fn add(left: i128, right: i128) -> Option<i128> {
    left.checked_add(right)
}

/// `left - right`, None when the difference leaves i128.
pub fn subtract(left: i128, right: i128) -> Option<i128> {
    left.checked_sub(right)
}

/// `quantity × price ÷ per`, all in nano-units, rounded once, half to even, with a 256-bit product between.
///
/// None when `per` is zero or the result leaves i128.
pub fn mul_div_round(quantity_nano: i128, price_nano: i128, per_nano: i128) -> Option<i128> {
    let divisor = per_nano.unsigned_abs();
    if divisor == 0 {
        return None;
    }
    let negative = (quantity_nano < 0) ^ (price_nano < 0) ^ (per_nano < 0);
    // Nearly always everything fits one register.
    if let (Ok(quantity), Ok(price), Ok(per)) = (u64::try_from(quantity_nano), u64::try_from(price_nano), u64::try_from(per_nano))
        && let Some(product) = quantity.checked_mul(price)
    {
        let (quotient, remainder) = (product / per, product % per);
        let left = per - remainder;
        let round_up = remainder > left || (remainder == left && quotient & 1 == 1);
        return Some(i128::from(quotient) + i128::from(round_up));
    }
    let (high, low) = multiply_wide(quantity_nano.unsigned_abs(), price_nano.unsigned_abs())?;
    let (quotient, remainder) = divide_wide(high, low, divisor)?;
    // remainder < divisor, so comparing it with what is left of the divisor compares it with the half.
    let left = divisor.checked_sub(remainder)?;
    let round_up = remainder > left || (remainder == left && quotient & 1 == 1);
    let magnitude = quotient.checked_add(u128::from(round_up))?;
    if negative { 0_i128.checked_sub_unsigned(magnitude) } else { i128::try_from(magnitude).ok() }
}

/// The 256-bit product as (high, low) halves.
fn multiply_wide(left: u128, right: u128) -> Option<(u128, u128)> {
    if let Some(product) = left.checked_mul(right) {
        return Some((0, product));
    }
    let (left_high, left_low) = (left >> 64, left & u128::from(u64::MAX));
    let (right_high, right_low) = (right >> 64, right & u128::from(u64::MAX));
    // Each partial product of 64-bit halves fits 128 bits with room for two 64-bit carries.
    let lowest = left_low.checked_mul(right_low)?;
    let middle = left_high.checked_mul(right_low)?.checked_add(lowest >> 64)?;
    let crossed = left_low.checked_mul(right_high)?.checked_add(middle & u128::from(u64::MAX))?;
    let high = left_high.checked_mul(right_high)?.checked_add(middle >> 64)?.checked_add(crossed >> 64)?;
    Some((high, (crossed << 64) | (lowest & u128::from(u64::MAX))))
}

/// Quotient and remainder of (high, low) ÷ divisor; None when the quotient needs more than 128 bits.
fn divide_wide(high: u128, low: u128, divisor: u128) -> Option<(u128, u128)> {
    if high == 0 {
        return Some((low.checked_div(divisor)?, low.checked_rem(divisor)?));
    }
    if high >= divisor {
        return None;
    }
    // Schoolbook division bit by bit. Products beyond 128 bits are so rare in pricing that clarity wins over speed.
    let (mut remainder, mut quotient) = (high, 0_u128);
    for bit in (0..128_u32).rev() {
        let overflowed = remainder >> 127 == 1;
        remainder = (remainder << 1) | ((low >> bit) & 1);
        if overflowed || remainder >= divisor {
            // With the bit that fell out the value is remainder + 2¹²⁸ ≥ divisor, and the difference fits again.
            remainder = remainder.wrapping_sub(divisor);
            quotient |= 1 << bit;
        }
    }
    Some((quotient, remainder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_bigint::BigInt;
    use proptest::prelude::*;

    #[test]
    fn takes_plain_decimals_only() {
        let parse = |text: &str| parse_decimal_nano(text.as_bytes(), QUANTITY_INTEGER_DIGITS);
        assert_eq!(parse("0"), Ok(0));
        assert_eq!(parse("5"), Ok(5 * NANO));
        assert_eq!(parse("007.50"), Ok(7_500_000_000));
        assert_eq!(parse("0.000000001"), Ok(1));
        assert_eq!(parse("999999999999999999.999999999"), Ok(999_999_999_999_999_999_999_999_999));
        for text in [
            "", ".", "5.", ".5", "-1", "+1", "-0", "1e3", "1E3", "1e300000", "1_000", "１２", "٣", " 5 ", "5 ", "5\n", "1.2.3", "0x10",
            "NaN", "Infinity", "1,5", "1.-5", "1._5", "5\0",
        ] {
            assert_eq!(parse(text), Err(DecimalError::Malformed), "{text:?}");
        }
        assert_eq!(parse("1.0000000000"), Err(DecimalError::TooPrecise));
        assert_eq!(parse("1000000000000000000"), Err(DecimalError::TooLarge));
        assert_eq!(parse("0000000000000000000000001"), Err(DecimalError::TooLarge));
    }

    #[test]
    fn takes_amounts_up_to_numeric_38_9() {
        let largest = "99999999999999999999999999999.999999999";
        assert_eq!(parse_decimal_nano(largest.as_bytes(), usize::MAX).map(format_nano).as_deref(), Ok(largest));
        assert_eq!(parse_decimal_nano(b"100000000000000000000000000000", usize::MAX), Err(DecimalError::TooLarge));
        assert_eq!(parse_signed_decimal_nano(b"-12.500000000", AMOUNT_INTEGER_DIGITS), Ok(-12_500_000_000));
        assert_eq!(parse_signed_decimal_nano(b"--1", AMOUNT_INTEGER_DIGITS), Err(DecimalError::Malformed));
    }

    #[test]
    fn formats_the_shortest_text() {
        for (nano, text) in
            [(0, "0"), (1, "0.000000001"), (-1, "-0.000000001"), (10 * NANO, "10"), (1_500_000_000, "1.5"), (-12_340_000_000, "-12.34")]
        {
            assert_eq!(format_nano(nano), text);
        }
        assert_eq!(format_nano(i128::MIN), "-170141183460469231731687303715.884105728");
        assert_eq!(format_nano(i128::MAX), "170141183460469231731687303715.884105727");
    }

    #[test]
    fn rounds_half_to_even() {
        for (product, per, expected) in
            [(5, 10, 0), (15, 10, 2), (25, 10, 2), (26, 10, 3), (-5, 10, 0), (-15, 10, -2), (-25, 10, -2), (24, 10, 2)]
        {
            assert_eq!(mul_div_round(product, 1, per), Some(expected), "{product}/{per}");
        }
        assert_eq!(mul_div_round(1, 1, 0), None);
        assert_eq!(mul_div_round(i128::MAX, i128::MAX, 1), None);
        assert_eq!(mul_div_round(i128::MAX, i128::MAX, i128::MAX), Some(i128::MAX));
        assert_eq!(mul_div_round(i128::MIN, 1, 1), Some(i128::MIN));
        assert_eq!(mul_div_round(i128::MIN, -1, 1), None);
    }

    /// The same rule in arbitrary precision, by the definition of half to even.
    fn oracle(quantity: i128, price: i128, per: i128) -> Option<i128> {
        if per == 0 {
            return None;
        }
        let (mut product, mut divisor) = (BigInt::from(quantity) * BigInt::from(price), BigInt::from(per));
        if divisor < BigInt::from(0) {
            (product, divisor) = (-product, -divisor);
        }
        let doubled: BigInt = &product * 2 + &divisor;
        let twice: BigInt = &divisor * 2;
        let mut rounded: BigInt = &doubled / &twice;
        let remainder: BigInt = &doubled % &twice;
        if remainder < BigInt::from(0) {
            rounded -= 1;
        }
        // floor(x + 1/2) rounds halves up; an exact half that came out odd goes one down.
        if remainder == BigInt::from(0) && &rounded % 2 != BigInt::from(0) {
            rounded -= 1;
        }
        i128::try_from(rounded).ok()
    }

    fn any_size() -> impl Strategy<Value = i128> {
        (any::<i128>(), 0_u32..128).prop_map(|(value, shift)| value >> shift)
    }

    proptest! {
        #[test]
        fn agrees_with_arbitrary_precision(quantity in any_size(), price in any_size(), per in any_size()) {
            prop_assert_eq!(mul_div_round(quantity, price, per), oracle(quantity, price, per));
        }

        #[test]
        fn agrees_near_halves(quotient in any::<i64>(), per in 1_i128..i128::MAX / 2, nudge in -2_i128..=2) {
            // quantity × 1 ÷ per lands at quotient + 1/2, give or take a nudge.
            if let Some(quantity) = per.checked_mul(i128::from(quotient)).and_then(|whole| whole.checked_add(per / 2 + nudge)) {
                prop_assert_eq!(mul_div_round(quantity, 1, per), oracle(quantity, 1, per));
            }
        }

        #[test]
        fn format_and_parse_are_inverse(nano in -10_i128.pow(38) + 1..10_i128.pow(38)) {
            prop_assert_eq!(parse_signed_decimal_nano(format_nano(nano).as_bytes(), AMOUNT_INTEGER_DIGITS), Ok(nano));
        }

        #[test]
        fn never_panics(text in any::<Vec<u8>>(), limit in any::<usize>()) {
            let _ = parse_signed_decimal_nano(&text, limit);
        }
    }
}
