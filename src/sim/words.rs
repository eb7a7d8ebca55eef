//! The words of answers: those that a seed stands for, other ones in their place, and as many characters of Chinese.

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same on every machine.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

const WORDS: [&str; 32] = [
    "the", "city", "rain", "answer", "small", "river", "plan", "seven", "light", "road", "green", "market", "paper",
    "quiet", "window", "stone", "early", "bridge", "letter", "north", "water", "table", "open", "music", "garden",
    "slow", "number", "warm", "field", "story", "paint", "harbour",
];
const HANZI: [char; 32] = [
    '的', '城', '雨', '答', '小', '河', '计', '七', '光', '路', '绿', '市', '纸', '静', '窗', '石', '早', '桥', '信',
    '北', '水', '桌', '开', '乐', '园', '慢', '数', '暖', '田', '故', '画', '港',
];

/// Returns a text of as many tokens as the seed says, from `least` to `most`.
pub(super) fn text(seed: u64, (least, most): (u32, u32)) -> Vec<String> {
    let mut numbers = SplitMix64(seed);
    let span = u64::from(most.saturating_sub(least)) + 1;
    let length = u64::from(least.max(2)) + numbers.next() % span;
    let mut words: Vec<String> = (1..length)
        .enumerate()
        .map(|(place, _)| {
            let word = WORDS[(numbers.next() % WORDS.len() as u64) as usize];
            if place == 0 { capital(word) } else { format!(" {word}") }
        })
        .collect();
    words.push(".".to_owned());
    words
}

/// Replaces every second word, beginning with the first, by another one.
pub(super) fn paraphrase(tokens: &mut [String], seed: u64) {
    let mut numbers = SplitMix64(seed);
    for token in tokens.iter_mut().step_by(2) {
        let word = token.trim_start().to_lowercase();
        let Some(at) = WORDS.iter().position(|known| *known == word) else { continue };
        let step = 1 + numbers.next() % (WORDS.len() as u64 - 1);
        let other = WORDS[(at + step as usize) % WORDS.len()];
        *token = if token.starts_with(' ') { format!(" {other}") } else { capital(other) };
    }
}

/// Replaces every character by one of Chinese.
pub(super) fn chinese(tokens: &mut [String]) {
    for token in tokens {
        let hanzi = |c: char| if c == '.' { '。' } else { HANZI[c as usize % HANZI.len()] };
        *token = token.chars().map(hanzi).collect();
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_words_have_the_length_and_are_others() {
        for seed in 0..500 {
            let words = text(seed, (8, 24));
            let (mut others, mut again, mut hanzi) = (words.clone(), words.clone(), words.clone());
            paraphrase(&mut others, seed);
            paraphrase(&mut again, seed + 1);
            chinese(&mut hanzi);
            assert!(others != words && others != again && others.len() == words.len(), "{words:?} {others:?}");
            let count = |tokens: &[String]| tokens.concat().chars().count();
            assert_eq!(count(&hanzi), count(&words));
            assert!(!hanzi.concat().chars().any(|c| c.is_ascii()), "{hanzi:?}");
            assert!(count(&others).abs_diff(count(&words)) <= 4 * words.len());
        }
    }
}
