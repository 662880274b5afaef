//! Times as text: RFC 3339 in UTC, with as many fraction digits as are needed (none, 3 or 6).

/// Writes microseconds since the Unix epoch.
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

    #[test]
    fn known_moments() {
        assert_eq!(format_us(0), "1970-01-01T00:00:00Z");
        assert_eq!(format_us(951_782_400_000_000), "2000-02-29T00:00:00Z");
        assert_eq!(format_us(1_795_435_200_120_000), "2026-11-23T12:00:00.120Z");
        assert_eq!(format_us(-1), "1969-12-31T23:59:59.999999Z");
    }
}
