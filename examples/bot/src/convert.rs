//! The bot's only skill: conversions of units.

/// Answer to a question that the bot cannot parse.
const HELP: &str = "I convert km, mi, kg, lb, C and F. Ask me like this: @convert 5 mi";

/// A unit, the one that it is converted to, and their ratio. A mile has 1,609.344 m, and a pound 0.453,592,37 kg.
const RATIOS: [(&str, &str, f64); 4] = [
    ("km", "mi", 1.0 / 1.609_344),
    ("mi", "km", 1.609_344),
    ("kg", "lb", 1.0 / 0.453_592_37),
    ("lb", "kg", 0.453_592_37),
];

/// Returns the answer to a message, or `None` if it does not begin with a mention of the user `name`.
///
/// The same message always gets the same answer, so that a repeated request has the same body.
pub(crate) fn answer(content: &str, name: &str) -> Option<String> {
    let question = content.trim().strip_prefix('@')?.strip_prefix(name)?;
    // `@converter` mentions another user.
    if question.starts_with(|next: char| !next.is_whitespace()) {
        return None;
    }
    Some(convert(question.trim()).unwrap_or_else(|| HELP.to_owned()))
}

/// Converts a quantity such as `5 mi`.
fn convert(quantity: &str) -> Option<String> {
    let (number, unit) = quantity.split_at(quantity.find(char::is_alphabetic)?);
    let (number, unit) = (number.trim(), unit.trim());
    let value: f64 = number.parse().ok()?;
    let (result, other) = match unit {
        "C" => (value * 1.8 + 32.0, "F"),
        "F" => ((value - 32.0) / 1.8, "C"),
        _ => {
            let (_, other, ratio) = RATIOS.iter().find(|(name, ..)| *name == unit)?;
            (value * ratio, *other)
        }
    };
    Some(format!("{number} {unit} is {result:.2} {other}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_converted() {
        for (question, expected) in [
            ("@convert 5 mi", "5 mi is 8.05 km."),
            ("  @convert 10km", "10 km is 6.21 mi."),
            ("@convert 2 lb", "2 lb is 0.91 kg."),
            ("@convert 1.5 kg", "1.5 kg is 3.31 lb."),
            ("@convert -40 C", "-40 C is -40.00 F."),
            ("@convert 212 F", "212 F is 100.00 C."),
        ] {
            assert_eq!(answer(question, "convert").as_deref(), Some(expected), "{question}");
        }
    }

    #[test]
    fn an_unknown_quantity_gets_help() {
        for question in ["@convert", "@convert km", "@convert five miles", "@convert 5", "@convert 5 apples"] {
            assert_eq!(answer(question, "convert").as_deref(), Some(HELP), "{question}");
        }
    }

    #[test]
    fn a_message_to_others_gets_no_answer() {
        for message in ["", "5 mi", "@converter 5 mi", "@alice 5 mi", "convert 5 mi", "mail@convert 5 mi"] {
            assert_eq!(answer(message, "convert"), None, "{message}");
        }
    }
}
