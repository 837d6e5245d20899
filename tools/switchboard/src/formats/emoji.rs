//! Emoji by the names that Slack and Mattermost give them.

use chat::model::text::emoji::Emoji;
use emojis::SkinTone;

/// Separator of a name and a skin tone in Slack, such as `+1::skin-tone-2`.
const TONE: &str = "::skin-tone-";

/// Returns the emoji of a name, such as `thumbsup` or `+1::skin-tone-2`. A custom emoji has none.
#[must_use]
pub fn of_name(name: &str) -> Option<Emoji> {
    let (name, tone) = name.split_once(TONE).map_or((name, None), |(name, tone)| (name, Some(tone)));
    // The table has the names of GitHub, which Slack and Mattermost share but for their separators.
    let found = emojis::get_by_shortcode(name).or_else(|| emojis::get_by_shortcode(&name.replace('-', "_")))?;
    let toned = tone.and_then(skin_tone).and_then(|tone| found.with_skin_tone(tone));
    toned.unwrap_or(found).as_str().parse().ok()
}

/// Returns a skin tone by the number of its Fitzpatrick types: `2` for types 1 and 2.
fn skin_tone(number: &str) -> Option<SkinTone> {
    match number {
        "2" => Some(SkinTone::Light),
        "3" => Some(SkinTone::MediumLight),
        "4" => Some(SkinTone::Medium),
        "5" => Some(SkinTone::MediumDark),
        "6" => Some(SkinTone::Dark),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_emoji() {
        let found = |name: &str| of_name(name).map(|emoji| emoji.to_string());
        assert_eq!(found("thumbsup").as_deref(), Some("👍"));
        assert_eq!(found("+1").as_deref(), Some("👍"));
        assert_eq!(found("+1::skin-tone-5").as_deref(), Some("👍🏾"));
        assert_eq!(found("heart").as_deref(), Some("❤️"));
        assert_eq!(found("party-parrot"), None);
    }
}
