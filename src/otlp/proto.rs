//! As much of protobuf's wire format as spans need (protobuf.dev/programming-guides/encoding), and OTLP's attributes.
//!
//! Written by hand because it is on every traced request's bill: the SDK's types cost some 80,000 instructions a
//! request, and this less than a tenth of it.

const LENGTH_DELIMITED: u8 = 2;

/// Bytes of a message under construction.
#[derive(Debug, Default)]
pub(super) struct Proto(Vec<u8>);

impl Proto {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn into_vec(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value as u8) | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    #[inline]
    fn tag(&mut self, field: u8, wire: u8) {
        self.varint(u64::from(field) << 3 | u64::from(wire));
    }

    #[inline]
    pub(super) fn bytes(&mut self, field: u8, bytes: &[u8]) {
        self.tag(field, LENGTH_DELIMITED);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// Fields that were encoded before.
    pub(super) fn raw(&mut self, fields: &[u8]) {
        self.0.extend_from_slice(fields);
    }

    /// What stands before `length` bytes of a message.
    pub(super) fn head(&mut self, field: u8, length: usize) {
        self.tag(field, LENGTH_DELIMITED);
        self.varint(length as u64);
    }

    /// One message in parts.
    pub(super) fn bytes_of(&mut self, field: u8, parts: &[&[u8]]) {
        self.tag(field, LENGTH_DELIMITED);
        self.varint(parts.iter().map(|part| part.len() as u64).sum());
        parts.iter().for_each(|part| self.0.extend_from_slice(part));
    }

    pub(super) fn number(&mut self, field: u8, value: u64) {
        self.tag(field, 0);
        self.varint(value);
    }

    pub(super) fn fixed64(&mut self, field: u8, value: u64) {
        self.tag(field, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn fixed32(&mut self, field: u8, value: u32) {
        self.tag(field, 5);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    #[inline]
    /// A `KeyValue` whose `AnyValue` has `length` bytes, which `write` then writes.
    fn pair(&mut self, field: u8, key: &str, length: usize, write: impl FnOnce(&mut Self)) {
        self.tag(field, LENGTH_DELIMITED);
        let outer = 1 + varint_len(key.len()) + key.len() + 1 + varint_len(length) + length;
        self.0.reserve(outer + 8);
        self.varint(outer as u64);
        self.bytes(1, key.as_bytes());
        self.tag(2, LENGTH_DELIMITED);
        self.varint(length as u64);
        write(self);
    }

    pub(super) fn text(&mut self, field: u8, key: &str, value: &str) {
        let length = 1 + varint_len(value.len()) + value.len();
        self.pair(field, key, length, |it| it.bytes(1, value.as_bytes()));
    }

    pub(super) fn flag(&mut self, field: u8, key: &str, value: bool) {
        self.pair(field, key, 2, |it| it.number(2, u64::from(value)));
    }

    pub(super) fn int(&mut self, field: u8, key: &str, value: i64) {
        let value = value.cast_unsigned();
        let length = 1 + varint_len(usize::try_from(value).unwrap_or(usize::MAX));
        self.pair(field, key, length, |it| it.number(3, value));
    }

    pub(super) fn double(&mut self, field: u8, key: &str, value: f64) {
        self.pair(field, key, 9, |it| it.fixed64(4, value.to_bits()));
    }

    pub(super) fn texts(&mut self, field: u8, key: &str, values: &[String]) {
        let mut array = Self::default();
        for value in values {
            let mut any = Self::default();
            any.bytes(1, value.as_bytes());
            array.bytes(1, &any.0);
        }
        let length = 1 + varint_len(array.0.len()) + array.0.len();
        self.pair(field, key, length, |it| it.bytes(5, &array.0));
    }
}

const fn varint_len(value: usize) -> usize {
    let mut rest = value >> 7;
    let mut length = 1;
    while rest > 0 {
        rest >>= 7;
        length += 1;
    }
    length
}
