//! Writes the numbered events of a streamed answer of `/v1/responses`.

use bytes::{BufMut, BytesMut};
use serde_json::Value;

use super::json::{put_number, put_text};

/// Writer of one answer's events.
#[derive(Debug, Default)]
pub(super) struct EventWriter {
    /// Sequence number of the next event.
    sequence: u64,
}

impl EventWriter {
    /// Appends an event with the whole response.
    pub(super) fn response(&mut self, out: &mut BytesMut, kind: &str, response: &Value) {
        self.event(out, kind, |out| {
            out.put_slice(b",\"response\":");
            out.put_slice(response.to_string().as_bytes());
        });
    }

    /// Appends an event with an item, which has this index for the application.
    pub(super) fn item(&mut self, out: &mut BytesMut, kind: &str, place: u64, item: &Value) {
        self.event(out, kind, |out| {
            out.put_slice(b",\"output_index\":");
            put_number(out, place);
            out.put_slice(b",\"item\":");
            out.put_slice(item.to_string().as_bytes());
        });
    }

    /// Appends an event inside the item with this id and index; `fields` adds its own fields.
    pub(super) fn inside(
        &mut self,
        out: &mut BytesMut,
        kind: &str,
        (id, place): (&str, u64),
        fields: impl FnOnce(&mut BytesMut),
    ) {
        self.event(out, kind, |out| {
            out.put_slice(b",\"item_id\":");
            put_text(out, id);
            out.put_slice(b",\"output_index\":");
            put_number(out, place);
            fields(out);
        });
    }

    fn event(&mut self, out: &mut BytesMut, kind: &str, fields: impl FnOnce(&mut BytesMut)) {
        out.put_slice(b"event: ");
        out.put_slice(kind.as_bytes());
        out.put_slice(b"\ndata: {\"type\":");
        put_text(out, kind);
        out.put_slice(b",\"sequence_number\":");
        put_number(out, self.sequence);
        self.sequence += 1;
        fields(out);
        out.put_slice(b"}\n\n");
    }
}
