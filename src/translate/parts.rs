//! Parts of a message's content: texts become one string, images stay if the backend takes them, others are pinned.

use std::borrow::Cow;

use super::draft::Draft;
use super::error::TranslateError;
use super::json::{self, array, joined};
use super::ledger::Action;
use super::rewrite::Rewrite;
use crate::config::Backend;
use crate::model::{ImageDetail, Pin};

/// Content of a list of parts.
pub(super) enum Content {
    /// Text only: the parts joined by a newline, as JSON. Servers themselves join by a newline, a space or nothing.
    Text(String),
    /// Not only text; the new JSON if a part changed.
    Parts(Option<String>),
    /// Not a list of parts; the server refuses it.
    Unclear,
}

/// Returns the reason for which a part of this type cannot be sent to this backend.
pub(super) fn pin(kind: &str, in_system: bool, backend: &Backend) -> Option<(Pin, &'static str)> {
    match kind {
        "text" | "refusal" | "input_text" | "output_text" => None,
        "image_url" | "input_image" => {
            let sees = backend.translation.vision && backend.engine.facts().takes_images;
            if !sees {
                Some((Pin::Vision, "the backend does not see images"))
            } else if in_system {
                Some((Pin::Vision, "the model's template allows no image in a system message"))
            } else {
                None
            }
        }
        "input_audio" => Some((Pin::Audio, "the backend does not hear audio")),
        "file" | "input_file" => Some((Pin::File, "files are kept by OpenAI")),
        _ => Some((Pin::UnknownField, "the backend does not know this kind of part")),
    }
}

/// Rewrites the parts in `json`, the value at `field`.
pub(super) fn read(
    rewrite: &mut Rewrite<'_>,
    json: &str,
    field: &str,
    in_system: bool,
) -> Result<Content, TranslateError> {
    let Some(items) = json::items(json) else { return Ok(Content::Unclear) };
    let mut texts: Vec<Cow<'_, str>> = Vec::with_capacity(items.len());
    let mut rewritten: Vec<Cow<'_, str>> = Vec::with_capacity(items.len());
    let mut only_text = true;
    for (at, item) in items.iter().enumerate() {
        // Some clients write a bare string for a part of text.
        if item.starts_with('"') {
            texts.push(Cow::Borrowed(item));
            rewritten.push(Cow::Borrowed(item));
            continue;
        }
        let Some(mut part) = Draft::parse(item) else { return Ok(Content::Unclear) };
        let kind = part.string("type").unwrap_or_default().into_owned();
        if let Some((pin, why)) = pin(&kind, in_system, rewrite.backend) {
            return Err(TranslateError::pinned(pin, format!("{field}[{at}]"), why));
        }
        match kind.as_str() {
            "image_url" => {
                only_text = false;
                image(rewrite, &mut part);
            }
            "refusal" => {
                let Some(text) = text_of(&part, "refusal") else { return Ok(Content::Unclear) };
                part = text_part(&text);
                texts.push(Cow::Owned(text));
            }
            _ => {
                part.retain(|name, _| name == "type" || name == "text");
                let Some(text) = text_of(&part, "text") else { return Ok(Content::Unclear) };
                texts.push(Cow::Owned(text));
            }
        }
        rewritten.push(if part.is_changed() { Cow::Owned(part.to_json()) } else { Cow::Borrowed(item) });
    }
    if only_text {
        return Ok(Content::Text(joined(texts.iter().map(AsRef::as_ref), "\\n")));
    }
    let changed = rewritten.iter().any(|part| matches!(part, Cow::Owned(_)));
    Ok(Content::Parts(changed.then(|| array(&rewritten))))
}

/// Returns a part's text as JSON; `None` if the field is not text.
fn text_of(part: &Draft<'_>, field: &str) -> Option<String> {
    match part.get(field) {
        None | Some("null") => Some("\"\"".to_owned()),
        Some(text) => text.starts_with('"').then(|| text.to_owned()),
    }
}

fn text_part(text: &str) -> Draft<'static> {
    let mut part = Draft::empty();
    part.set("type", "\"text\"");
    part.set("text", text.to_owned());
    part
}

fn image(rewrite: &mut Rewrite<'_>, part: &mut Draft<'_>) {
    part.retain(|name, _| name == "type" || name == "image_url");
    let Some(image) = part.get("image_url").map(str::to_owned) else { return };
    let Some(mut image) = Draft::parse(&image) else { return };
    image.retain(|name, _| name == "url" || name == "detail");
    match rewrite.backend.engine.facts().image_detail {
        ImageDetail::Ignored if image.remove("detail").is_some() => {
            rewrite.note("messages[].content[].image_url.detail", Action::Dropped, "ignored there");
        }
        ImageDetail::UpToHigh if image.get("detail") == Some("\"original\"") => {
            image.set("detail", "\"high\"");
            rewrite.note("messages[].content[].image_url.detail", Action::Rewritten, "original to high");
        }
        ImageDetail::Passed | ImageDetail::Ignored | ImageDetail::UpToHigh => {}
    }
    if image.is_changed() {
        part.set("image_url", image.to_json());
    }
}
