//! Reads tables and scalars from the parsed text; reports a problem for each value of a wrong type or range.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problems;
use crate::model::Percent;

/// A parsed value with its place in the text.
pub(super) type Value<'d> = Spanned<DeValue<'d>>;

/// A table whose keys are read by name; a key that was never read is unknown.
#[derive(Debug)]
pub(super) struct Section<'t, 'd> {
    /// Name in messages: `[server]`, `backend.qwen`.
    pub(super) name: String,
    pub(super) span: Range<usize>,
    table: Option<&'t DeTable<'d>>,
    asked: Vec<&'static str>,
}

impl<'t, 'd> Section<'t, 'd> {
    /// Takes a table; reports a value of another type and continues as if it were empty.
    pub(super) fn new(name: impl Into<String>, value: &'t Value<'d>, problems: &mut Problems<'_>) -> Self {
        let name = name.into();
        let table = value.get_ref().as_table();
        if table.is_none() {
            problems.add(&value.span(), format!("{name} is {}", kind(value)), "write a table");
        }
        Self { name, span: value.span(), table, asked: Vec::new() }
    }

    /// Takes the whole file.
    pub(super) fn root(table: &'t DeTable<'d>) -> Self {
        Self { name: "the file".to_owned(), span: 0..0, table: Some(table), asked: Vec::new() }
    }

    /// Makes a section that the file leaves out: every key has its default.
    pub(super) const fn absent() -> Self {
        Self { name: String::new(), span: 0..0, table: None, asked: Vec::new() }
    }

    /// Returns a key's value, if it is given.
    pub(super) fn get(&mut self, key: &'static str) -> Option<&'t Value<'d>> {
        self.asked.push(key);
        self.table?.get(key)
    }

    /// Reads a key's value, if it is given; reports one that `read` refuses.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
        read: impl FnOnce(&'t Value<'d>) -> Result<T, Wrong>,
    ) -> Option<T> {
        let value = self.get(key)?;
        match read(value) {
            Ok(read) => Some(read),
            Err(wrong) => {
                problems.add(&value.span(), format!("{key} {}", wrong.what), wrong.cure);
                None
            }
        }
    }

    /// Reads a key's value; reports a missing one too.
    pub(super) fn require<T>(
        &mut self,
        key: &'static str,
        cure: &str,
        problems: &mut Problems<'_>,
        read: impl FnOnce(&'t Value<'d>) -> Result<T, Wrong>,
    ) -> Option<T> {
        if self.table.is_some_and(|table| table.get(key).is_none()) {
            problems.add(&self.span, format!("{} has no {key}", self.name), cure);
        }
        self.read(key, problems, read)
    }

    /// Reports every key that was never read, with the nearest known one.
    pub(super) fn finish(self, problems: &mut Problems<'_>) {
        let Some(table) = self.table else { return };
        for key in table.keys() {
            let written = key.get_ref().as_ref();
            if !self.asked.contains(&written) {
                let cure = unknown_cure(written, self.asked.iter().copied());
                problems.add(&key.span(), format!("{} has no key {written}", self.name), cure);
            }
        }
    }

    /// Returns the entries in the file's order, for tables whose keys are names.
    pub(super) fn entries(&self) -> Vec<(&'t str, Range<usize>, &'t Value<'d>)> {
        let mut entries: Vec<_> = self
            .table
            .into_iter()
            .flat_map(|table| table.iter())
            .map(|(key, value)| (key.get_ref().as_ref(), key.span(), value))
            .collect();
        entries.sort_by_key(|(_, span, _)| span.start);
        entries
    }
}

/// Suggests the nearest known name, or lists all of them.
pub(super) fn unknown_cure<'a>(written: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(written, known.clone()) {
        Some(near) => format!("did you mean {near}?"),
        None => {
            let mut known: Vec<&str> = known.collect();
            known.sort_unstable();
            known.dedup();
            format!("known here: {}", known.join(", "))
        }
    }
}

fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::damerau_levenshtein(written, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3 || (written.len() > 2 && name.starts_with(written)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The reason why a value is refused, and its cure.
#[derive(Debug)]
pub(super) struct Wrong {
    /// Continues a sentence that begins with the key: "is a string".
    pub(super) what: String,
    pub(super) cure: String,
}

/// Refuses a value.
pub(super) fn wrong<T>(what: impl Into<String>, cure: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { what: what.into(), cure: cure.into() })
}

/// Names a value's type, with its article.
pub(super) fn kind(value: &Value<'_>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Reads a string that is not empty.
pub(super) fn string<'t>(value: &'t Value<'_>) -> Result<&'t str, Wrong> {
    match value.get_ref().as_str() {
        Some("") => wrong("is empty", "write a value, or leave the key out"),
        Some(text) => Ok(text),
        None => wrong(format!("is {}", kind(value)), "write a string in quotes"),
    }
}

/// Reads `true` or `false`.
pub(super) fn boolean(value: &Value<'_>) -> Result<bool, Wrong> {
    value.get_ref().as_bool().map_or_else(|| wrong(format!("is {}", kind(value)), "write true or false"), Ok)
}

/// Reads an integer or a float.
pub(super) fn number(value: &Value<'_>) -> Result<f64, Wrong> {
    let parsed = match value.get_ref() {
        DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse::<f64>().ok(),
        DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
        _ => return wrong(format!("is {}", kind(value)), "write a number"),
    };
    parsed.map_or_else(|| wrong("is not a number", "write a number such as 2.5"), Ok)
}

/// Reads a finite number above 0.
pub(super) fn positive(value: &Value<'_>) -> Result<f64, Wrong> {
    match number(value)? {
        n if n.is_nan() => wrong("is nan", "write a number above 0"),
        n if n <= 0.0 || n.is_infinite() => wrong(format!("is {n}"), "write a finite number above 0"),
        n => Ok(n),
    }
}

/// Reads a finite number from 0 up.
pub(super) fn not_negative(value: &Value<'_>) -> Result<f64, Wrong> {
    match number(value)? {
        n if n.is_nan() => wrong("is nan", "write a number from 0 up"),
        n if n < 0.0 || n.is_infinite() => wrong(format!("is {n}"), "write a finite number from 0 up"),
        n => Ok(n),
    }
}

/// Reads a number from 0 to 1.
pub(super) fn fraction(value: &Value<'_>) -> Result<f64, Wrong> {
    match number(value)? {
        n if (0.0..=1.0).contains(&n) => Ok(n),
        n => wrong(format!("is {n}"), "write a number from 0 to 1"),
    }
}

/// Reads a whole number from `least` to `most`.
pub(super) fn whole(value: &Value<'_>, least: u64, most: u64) -> Result<u64, Wrong> {
    let cure = format!("write a whole number from {least} to {most}");
    let DeValue::Integer(integer) = value.get_ref() else { return wrong(format!("is {}", kind(value)), cure) };
    match u64::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        _ => wrong(format!("is {integer}"), cure),
    }
}

/// Reads a whole number from 1 to 1,000,000.
pub(super) fn count(value: &Value<'_>) -> Result<usize, Wrong> {
    whole(value, 1, 1_000_000).map(|n| usize::try_from(n).unwrap_or(usize::MAX))
}

/// Reads a number from 0 to 100 with at most two decimals.
pub(super) fn percent(value: &Value<'_>) -> Result<Percent, Wrong> {
    let cure = "write a number from 0 to 100 with at most two decimals";
    let number = match number(value) {
        Ok(number) => number,
        Err(Wrong { what, .. }) => return wrong(what, cure),
    };
    match Percent::try_from(number) {
        Ok(percent) => Ok(percent),
        Err(error) => wrong(format!("is {number}: it {error}"), cure),
    }
}

/// Reads a time with its unit, above 0 and up to 30 days.
pub(super) fn duration(value: &Value<'_>) -> Result<Duration, Wrong> {
    let cure = "write a time with its unit, such as \"500ms\", \"20s\", \"10m\" or \"1h\"";
    let Some(text) = value.get_ref().as_str() else { return wrong(format!("is {}", kind(value)), cure) };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    let scale = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return wrong(format!("is {text:?}"), cure),
    };
    match digits.trim().parse::<f64>() {
        Ok(n) if n > 0.0 && n * scale <= 86_400.0 * 30.0 => Ok(Duration::from_secs_f64(n * scale)),
        Ok(0.0) => wrong("is 0", cure),
        _ => wrong(format!("is {text:?}"), cure),
    }
}

/// Reads a size with its unit, in bytes, above 0.
pub(super) fn size(value: &Value<'_>) -> Result<u64, Wrong> {
    let cure = "write a size with its unit, such as \"64KiB\" or \"32MiB\"";
    let Some(text) = value.get_ref().as_str() else { return wrong(format!("is {}", kind(value)), cure) };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale: u64 = match text.strip_prefix(digits).unwrap_or_default() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return wrong(format!("is {text:?}"), cure),
    };
    match digits.trim().parse::<u64>().ok().and_then(|n| n.checked_mul(scale)) {
        Some(0) => wrong("is 0", cure),
        Some(bytes) => Ok(bytes),
        None => wrong(format!("is {text:?}"), cure),
    }
}

/// Reads a list of strings; reports each refused entry.
pub(super) fn list<'t, T>(
    key: &str,
    value: &'t Value<'_>,
    problems: &mut Problems<'_>,
    mut read: impl FnMut(&'t str) -> Result<T, Wrong>,
) -> Vec<T> {
    let Some(items) = value.get_ref().as_array() else {
        problems.add(&value.span(), format!("{key} is {}", kind(value)), "write a list: [\"…\"]");
        return Vec::new();
    };
    let mut read_items = Vec::new();
    for item in items.iter() {
        match string(item).and_then(&mut read) {
            Ok(item) => read_items.push(item),
            Err(wrong) => problems.add(&item.span(), format!("an entry of {key} {}", wrong.what), wrong.cure),
        }
    }
    read_items
}

/// Reads one of a closed list of words.
pub(super) fn word<T: Copy>(value: &Value<'_>, words: &[(&str, T)]) -> Result<T, Wrong> {
    let text = string(value)?;
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, meaning)) => Ok(*meaning),
        None => {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            wrong(format!("is {text:?}"), format!("write one of: {}", all.join(", ")))
        }
    }
}
