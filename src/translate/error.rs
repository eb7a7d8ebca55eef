//! Reasons for which a request is not translated.

use std::borrow::Cow;

use crate::model::Pin;
use crate::wire::error_body::ApiError;

/// Why there is nothing to send.
#[derive(Debug, Clone)]
pub enum TranslateError {
    /// This backend cannot do it: another one has to.
    Pinned(Pinned),
    /// Nobody can: the application is told.
    Invalid(Box<ApiError>),
}

/// What a backend cannot do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    pub pin: Pin,
    /// The field that asks for it.
    pub field: Cow<'static, str>,
    pub why: &'static str,
}

impl TranslateError {
    pub(super) fn pinned(pin: Pin, field: impl Into<Cow<'static, str>>, why: &'static str) -> Self {
        Self::Pinned(Pinned { pin, field: field.into(), why })
    }

    pub(super) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        let mut error = ApiError::invalid_request(message, Some("invalid_request"));
        error.param = Some(param.into());
        Self::Invalid(Box::new(error))
    }
}

impl Pinned {
    /// What the application is told when no backend can.
    pub fn to_error(&self) -> ApiError {
        let message = format!("{}, and no other backend may serve this request", self.why);
        let mut error = ApiError::invalid_request(message, Some("unsupported_feature"));
        error.param = Some(self.field.to_string());
        error
    }
}
