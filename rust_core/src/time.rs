//! RFC 3339 times as microseconds since 1970 and back. Reading is strict: what is not exactly such a time is refused.

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// Reads `YYYY-MM-DDThh:mm:ss[.fraction](Z|±hh:mm)`.
///
/// None for anything else: no offset, a leap second, a day that the calendar lacks, the years 0000 and 9999 (whose
/// neighbours other systems cannot store), or a fraction finer than microseconds unless its further digits are zeros.
pub fn parse_rfc3339_us(text: &[u8]) -> Option<i64> {
    let (date_time, rest) = text.split_first_chunk::<19>()?;
    let [y0, y1, y2, y3, b'-', mo0, mo1, b'-', d0, d1, b'T' | b't', h0, h1, b':', mi0, mi1, b':', s0, s1] = *date_time else {
        return None;
    };
    let year = two(y0, y1)? * 100 + two(y2, y3)?;
    let (month, day) = (two(mo0, mo1)?, two(d0, d1)?);
    let (hour, minute, second) = (two(h0, h1)?, two(mi0, mi1)?, two(s0, s1)?);
    let plausible = matches!(year, 1..=9998) && matches!(month, 1..=12) && day >= 1 && day <= month_days(year, month);
    if !plausible || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction_us, zone) = match rest.split_first() {
        Some((b'.', after)) => fraction(after)?,
        _ => (0, rest),
    };
    let offset_minutes = match *zone {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), oh0, oh1, b':', om0, om1] => {
            let (hours, minutes) = (two(oh0, oh1)?, two(om0, om1)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            if sign == b'+' { hours * 60 + minutes } else { -(hours * 60 + minutes) }
        }
        _ => return None,
    };
    let seconds = hour * 3600 + (minute - offset_minutes) * 60 + second;
    Some(days_since_1970(year, month, day) * DAY_US + seconds * 1_000_000 + fraction_us)
}

/// Two ASCII digits.
#[inline]
fn two(tens: u8, ones: u8) -> Option<i64> {
    if tens.is_ascii_digit() && ones.is_ascii_digit() { Some(i64::from(tens & 15) * 10 + i64::from(ones & 15)) } else { None }
}

/// The digits behind the point as microseconds, and what follows them.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(length)?;
    let finer = digits.get(6..).unwrap_or_default();
    if digits.is_empty() || digits.len() > 9 || finer.iter().any(|digit| *digit != b'0') {
        return None;
    }
    let mut place = 100_000;
    let mut sum = 0;
    for digit in digits.iter().take(6) {
        sum += i64::from(digit & 15) * place;
        place /= 10;
    }
    Some((sum, rest))
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar.
///
/// Years are counted from March, so that the leap day comes last; 153 days make five months of 31, 30, 31, 30, 31.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Writes microseconds since 1970 in UTC, with as many fraction digits as are needed: none, 3 or 6.
pub fn write_us(out: &mut Vec<u8>, unix_us: i64) {
    let seconds = unix_us.div_euclid(1_000_000);
    let fraction = unix_us.rem_euclid(1_000_000);
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    out.extend_from_slice(
        format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60).as_bytes(),
    );
    if fraction % 1_000 != 0 {
        out.extend_from_slice(format!(".{fraction:06}").as_bytes());
    } else if fraction != 0 {
        out.extend_from_slice(format!(".{:03}", fraction / 1_000).as_bytes());
    }
    out.push(b'Z');
}

/// [`write_us`] as a string.
#[must_use]
pub fn format_us(unix_us: i64) -> String {
    let mut out = Vec::with_capacity(27);
    write_us(&mut out, unix_us);
    String::from_utf8(out).unwrap_or_default()
}

/// Days since 1970-01-01 as (year, month, day) of the proleptic Gregorian calendar: eras of 400 years begin on 1 March.
const fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + if month <= 2 { 1 } else { 0 }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Option<i64> {
        parse_rfc3339_us(text.as_bytes())
    }

    /// Known instants, in UTC and with offsets.
    #[test]
    fn reads_times() {
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse("1969-12-31T23:59:59.999999Z"), Some(-1));
        assert_eq!(parse("2026-07-31T23:59:59.999999+08:00"), Some(1_785_513_599_999_999));
        assert_eq!(parse("2026-07-31t15:59:59.9999990z"), Some(1_785_513_599_999_999));
        assert_eq!(parse("2024-02-29T00:00:00-23:59"), Some(1_709_251_140_000_000));
        assert_eq!(parse("2000-02-29T12:00:00.5-00:00"), Some(951_825_600_500_000));
        assert_eq!(parse("2026-01-01T00:00:00.123456000Z"), Some(1_767_225_600_123_456));
    }

    /// Naive, leap, far, fuzzy or foreign times are not guessed at.
    #[test]
    fn refuses_other_texts() {
        for text in [
            "",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-01-01 00:00:00Z",
            "2026-01-01T00:00:60Z",
            "2016-12-31T23:59:60Z",
            "9999-12-31T23:59:59Z",
            "0000-01-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.1234567Z",
            "2026-01-01T00:00:00.0000000000Z",
            "2026-01-01T00:00:00+0800",
            "2026-01-01T00:00:00+08",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00+08:60",
            "2026-01-01T00:00:00ZZ",
            " 2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00Z ",
            "+2026-01-01T00:00:00Z",
            "２026-01-01T00:00:00Z",
            "2026-01-01T00:00:00,5Z",
            "1767225600",
            "-026-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        /// Consecutive days are a day apart through every month and leap year.
        #[test]
        fn days_follow_each_other(year in 1_i64..9998, month in 1_i64..=12) {
            let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            let last = days_since_1970(year, month, month_days(year, month));
            prop_assert_eq!(days_since_1970(next_year, next_month, 1), last + 1);
            prop_assert_eq!(days_since_1970(year, month, 1) + month_days(year, month) - 1, last);
        }

        /// No bytes panic.
        #[test]
        fn never_panics(text in "[0-9T:Zz.+-]{0,40}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,12})?(Z|[+-][0-9]{2}:[0-9]{2})") {
            let _ = parse(&text);
        }
    }

    /// What is written is what was meant, on both sides of 1970.
    #[test]
    fn known_moments() {
        assert_eq!(format_us(0), "1970-01-01T00:00:00Z");
        assert_eq!(format_us(951_782_400_000_000), "2000-02-29T00:00:00Z");
        assert_eq!(format_us(1_795_435_200_120_000), "2026-11-23T12:00:00.120Z");
        assert_eq!(format_us(-1), "1969-12-31T23:59:59.999999Z");
    }
}
