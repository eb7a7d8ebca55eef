//! What a backend can do.

use super::follow::Pace;
use crate::backend::Target;

pub(super) async fn keep_probed(_target: &Target, _pace: Pace) {}
