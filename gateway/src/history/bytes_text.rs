//! Values in records: as the text they are, or in base64 when they are none.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form<'a> {
    Text(std::borrow::Cow<'a, str>),
    Bytes { base64: String },
}

pub(super) fn serialize<S: Serializer>(value: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
    let form = value.as_ref().map(|value| match std::str::from_utf8(value) {
        Ok(text) => Form::Text(text.into()),
        Err(_) => Form::Bytes { base64: STANDARD.encode(value) },
    });
    form.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
    Ok(match Option::<Form<'_>>::deserialize(deserializer)? {
        None => None,
        Some(Form::Text(text)) => Some(Bytes::from(text.into_owned())),
        Some(Form::Bytes { base64 }) => Some(STANDARD.decode(base64).map_err(D::Error::custom)?.into()),
    })
}
