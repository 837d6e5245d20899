//! Paths of requests.

/// Encodes a text as one path segment.
pub(crate) fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    text.bytes().fold(String::new(), |mut path, byte| {
        if plain(byte) {
            path.push(char::from(byte));
        } else {
            path.push('%');
            path.extend(
                [byte >> 4, byte & 15]
                    .iter()
                    .filter_map(|digit| char::from_digit(u32::from(*digit), 16))
                    .map(|digit| digit.to_ascii_uppercase()),
            );
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_has_no_separator() {
        assert_eq!(segment("abc=/\u{1f44d}"), "abc%3D%2F%F0%9F%91%8D");
        assert_eq!(segment("a.b_c:d~-1"), "a.b_c:d~-1");
    }
}
