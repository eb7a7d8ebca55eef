//! Script that most of a text's letters belong to. A Qwen that falls into Chinese is its commonest fault of language.

use super::vocabulary::NullReason;

/// Least number of letters that tell a script.
const ENOUGH: usize = 8;

/// Scripts that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    Latin,
    /// Han, kana, hangul.
    Cjk,
    Cyrillic,
    Arabic,
    Other,
}

/// True if both texts have one script; `TooShort` if one of them has too few letters.
pub(super) fn is_equal(a: &str, b: &str) -> Result<bool, NullReason> {
    let (a, b) = (of_text(a), of_text(b));
    match (a, b) {
        (Some(a), Some(b)) => Ok(a == b),
        _ => Err(NullReason::TooShort),
    }
}

/// Returns the script of most letters, at a tie the one that is earlier in the list.
fn of_text(text: &str) -> Option<Script> {
    const ALL: [Script; 5] = [Script::Latin, Script::Cjk, Script::Cyrillic, Script::Arabic, Script::Other];
    let mut counts = [0_usize; ALL.len()];
    for letter in text.chars().filter(|c| c.is_alphabetic()) {
        if let Some(count) = counts.get_mut(of_letter(letter) as usize) {
            *count += 1;
        }
    }
    if counts.iter().sum::<usize>() < ENOUGH {
        return None;
    }
    ALL.into_iter().zip(counts).rev().max_by_key(|(_, count)| *count).map(|(script, _)| script)
}

/// Returns the script by the blocks of Unicode.
const fn of_letter(letter: char) -> Script {
    match letter {
        'A'..='Z' | 'a'..='z' | '\u{aa}' | '\u{ba}' | '\u{c0}'..='\u{2af}' | '\u{1d00}'..='\u{1dbf}' => Script::Latin,
        '\u{1e00}'..='\u{1eff}' | '\u{2c60}'..='\u{2c7f}' | '\u{a720}'..='\u{a7ff}' | '\u{ab30}'..='\u{ab6f}' => {
            Script::Latin
        }
        '\u{fb00}'..='\u{fb06}' | '\u{ff21}'..='\u{ff5a}' => Script::Latin,
        '\u{1100}'..='\u{11ff}' | '\u{2e80}'..='\u{9fff}' | '\u{a960}'..='\u{a97f}' => Script::Cjk,
        '\u{ac00}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ffdc}' => Script::Cjk,
        '\u{1b000}'..='\u{1b16f}' | '\u{20000}'..='\u{3ffff}' => Script::Cjk,
        '\u{400}'..='\u{52f}' | '\u{1c80}'..='\u{1c8f}' | '\u{2de0}'..='\u{2dff}' | '\u{a640}'..='\u{a69f}' => {
            Script::Cyrillic
        }
        '\u{600}'..='\u{6ff}' | '\u{750}'..='\u{77f}' | '\u{870}'..='\u{8ff}' | '\u{fb50}'..='\u{fdff}' => {
            Script::Arabic
        }
        '\u{fe70}'..='\u{feff}' => Script::Arabic,
        _ => Script::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_of_most_letters() {
        for (text, expected) in [
            ("Größe, naïve", Some(Script::Latin)),
            ("The word 法国的首都 is Chinese", Some(Script::Latin)),
            ("法国的首都是巴黎，Paris", Some(Script::Cjk)),
            ("こんにちは、カタカナ", Some(Script::Cjk)),
            ("안녕하세요 여러분", Some(Script::Cjk)),
            ("Столица Франции", Some(Script::Cyrillic)),
            ("عاصمة فرنسا", Some(Script::Arabic)),
            ("Η πρωτεύουσα", Some(Script::Other)),
            ("1234567890 ++", None),
            ("seven l", None),
            ("abcdабвг", Some(Script::Latin)),
        ] {
            assert_eq!(of_text(text), expected, "{text}");
        }
    }
}
