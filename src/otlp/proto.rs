//! The part of protobuf's wire format that spans need (protobuf.dev/programming-guides/encoding), and OTLP's attributes.
//!
//! Written by hand because every traced request pays for it: the SDK's types cost some 80,000 instructions a request,
//! this less than a tenth of it.

/// Wire types of the format.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;
const FIXED32: u8 = 5;

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

    /// Writes a length-delimited field.
    #[inline]
    pub(super) fn bytes(&mut self, field: u8, bytes: &[u8]) {
        self.tag(field, LENGTH_DELIMITED);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// Appends encoded fields.
    pub(super) fn raw(&mut self, fields: &[u8]) {
        self.0.extend_from_slice(fields);
    }

    /// Writes tag and length of a message of `length` bytes.
    pub(super) fn head(&mut self, field: u8, length: usize) {
        self.tag(field, LENGTH_DELIMITED);
        self.varint(length as u64);
    }

    /// Writes a message whose fields are encoded in several parts.
    pub(super) fn bytes_of(&mut self, field: u8, parts: &[&[u8]]) {
        self.tag(field, LENGTH_DELIMITED);
        self.varint(parts.iter().map(|part| part.len() as u64).sum());
        parts.iter().for_each(|part| self.0.extend_from_slice(part));
    }

    /// Writes a varint field.
    pub(super) fn number(&mut self, field: u8, value: u64) {
        self.tag(field, VARINT);
        self.varint(value);
    }

    pub(super) fn fixed64(&mut self, field: u8, value: u64) {
        self.tag(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn fixed32(&mut self, field: u8, value: u32) {
        self.tag(field, FIXED32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes a `KeyValue` whose `AnyValue` has `length` bytes, which `write` writes.
    #[inline]
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

    /// Writes an attribute with a string.
    pub(super) fn text(&mut self, field: u8, key: &str, value: &str) {
        let length = 1 + varint_len(value.len()) + value.len();
        self.pair(field, key, length, |it| it.bytes(1, value.as_bytes()));
    }

    /// Writes an attribute with a boolean.
    pub(super) fn flag(&mut self, field: u8, key: &str, value: bool) {
        self.pair(field, key, 2, |it| it.number(2, u64::from(value)));
    }

    /// Writes an attribute with an integer.
    pub(super) fn int(&mut self, field: u8, key: &str, value: i64) {
        let value = value.cast_unsigned();
        let length = 1 + varint_len(usize::try_from(value).unwrap_or(usize::MAX));
        self.pair(field, key, length, |it| it.number(3, value));
    }

    /// Writes an attribute with a double.
    pub(super) fn double(&mut self, field: u8, key: &str, value: f64) {
        self.pair(field, key, 9, |it| it.fixed64(4, value.to_bits()));
    }

    /// Writes an attribute with an array of strings.
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

/// Number of bytes of a varint.
const fn varint_len(value: usize) -> usize {
    let mut rest = value >> 7;
    let mut length = 1;
    while rest > 0 {
        rest >>= 7;
        length += 1;
    }
    length
}
