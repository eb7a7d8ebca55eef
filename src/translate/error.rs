//! Reasons for which a request is not translated.

use std::borrow::Cow;

use crate::model::Pin;
use crate::wire::error_body::ApiError;

/// Reason for which there is nothing to send.
#[derive(Debug, Clone)]
pub enum TranslateError {
    /// This backend cannot serve the request; another one may.
    Pinned(Pinned),
    /// No backend can serve the request; the application receives this error.
    Invalid(Box<ApiError>),
}

/// Feature of a request that a backend does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// Reason as routes and metrics name it.
    pub pin: Pin,
    /// Field that asks for the feature.
    pub field: Cow<'static, str>,
    /// Reason in words, for the application.
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
    /// Returns the error for an application whose request no backend can serve: 400 `unsupported_feature`.
    pub fn to_error(&self) -> ApiError {
        let message = format!("{}, and no other backend may serve this request", self.why);
        let mut error = ApiError::invalid_request(message, Some("unsupported_feature"));
        error.param = Some(self.field.to_string());
        error
    }
}
