//! Times of the server, in milliseconds since 1970.

/// Names of the months in HTTP dates.
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Returns a time in the form of the API, `2026-05-01T12:00:00.000Z`.
pub(crate) fn of_rfc3339(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    moment(year, month, day, time)?.checked_add(digits.parse().ok()?)
}

/// Returns the time of a header `Date`, `Fri, 01 May 2026 12:00:00 GMT`.
pub(crate) fn of_http_date(text: &str) -> Option<i64> {
    let mut parts = text.strip_suffix(" GMT")?.split_once(", ")?.1.split(' ');
    let day = parts.next()?.parse().ok()?;
    let month = parts.next()?;
    let month = MONTHS.iter().position(|name| *name == month)?;
    let year = parts.next()?.parse().ok()?;
    moment(year, i64::try_from(month).ok()?.checked_add(1)?, day, parts.next()?)
}

/// Returns a time of day, `12:00:00`, of a date.
fn moment(year: i64, month: i64, day: i64, time: &str) -> Option<i64> {
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let mut time = time.splitn(3, ':').map(|part| part.parse::<u32>().ok().map(i64::from));
    let (hours, minutes, seconds) = (time.next()??, time.next()??, time.next()??);
    if hours > 23 || minutes > 59 || seconds > 60 {
        return None;
    }
    Some((((days(year, month, day) * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000)
}

/// Returns the number of days from 1970 to a date. Years begin with March, so that the leap day is their last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let of_era = year.rem_euclid(400) * 365 + year.rem_euclid(400) / 4 - year.rem_euclid(400) / 100 + of_year;
    year.div_euclid(400) * 146_097 + of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_forms_are_equal() {
        let leap = 1_709_208_000_000;
        assert_eq!(of_rfc3339("1970-01-01T00:00:00.000Z"), Some(0));
        assert_eq!(of_rfc3339("2024-02-29T12:00:00.250Z"), Some(leap + 250));
        assert_eq!(of_rfc3339("2024-02-29T12:00:00Z"), Some(leap));
        assert_eq!(of_http_date("Thu, 29 Feb 2024 12:00:00 GMT"), Some(leap));
        assert_eq!(of_http_date("Fri, 01 Mar 2024 12:00:00 GMT"), Some(leap + 24 * 3_600_000));
    }

    #[test]
    fn other_texts_are_no_times() {
        for text in ["", "Z", "2024-02-29", "2024-13-01T00:00:00Z", "2024-01-01T24:00:00Z", "2024-01-01T+1:-1:00Z"] {
            assert_eq!(of_rfc3339(text), None, "{text}");
        }
        for text in ["", "yesterday GMT", "Thu, 29 Foo 2024 12:00:00 GMT", "Thu, 29 Feb 2024 GMT"] {
            assert_eq!(of_http_date(text), None, "{text}");
        }
    }
}
