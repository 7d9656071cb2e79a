//! What a `Content-Type` or `Accept` header names.

/// The form of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Lines,
    /// Lines of CSV (RFC 4180).
    Csv {
        /// The parameter `header`.
        header: Option<bool>,
    },
    /// An Open Inference body with binary tensors.
    Binary {
        /// How many bytes at the front are JSON.
        json_bytes: u64,
    },
    /// One array as numpy saves it.
    Npy,
    /// Not said.
    Unnamed,
}

/// A form that is not read here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// Another content type.
    #[error(
        "content type {0:?} is not supported; send application/json, application/jsonlines, \
         text/csv, application/x-npy or {BINARY}"
    )]
    Unsupported(String),
    /// The binary form without the length of its JSON.
    #[error("content type {BINARY} needs the parameter json-header-size=<bytes>")]
    NoHeaderSize,
}

/// The content type of an Open Inference body with binary tensors.
pub const BINARY: &str = "application/vnd.sagemaker-triton.binary+json";

impl Media {
    /// Reads the value of a header.
    ///
    /// # Errors
    /// When it names a form that is not read here.
    pub fn parse(header: &str) -> Result<Self, MediaError> {
        let mut parts = header.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut parameter = |wanted: &str| {
            parts.find_map(|part| {
                let (name, value) = part.split_once('=')?;
                name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().trim_matches('"'))
            })
        };
        Ok(match essence.as_str() {
            // `curl -d` says that it sends a form, whatever it sends.
            ""
            | "*/*"
            | "application/*"
            | "application/octet-stream"
            | "application/x-www-form-urlencoded" => Self::Unnamed,
            "application/json" | "application/json-numpy" => Self::Json,
            "application/jsonlines" | "application/x-jsonlines" | "application/x-ndjson" => {
                Self::Lines
            }
            "text/csv" | "text/*" => Self::Csv {
                header: match parameter("header") {
                    Some("present") => Some(true),
                    Some("absent") => Some(false),
                    _ => None,
                },
            },
            "application/x-npy" => Self::Npy,
            BINARY => {
                let size = parameter("json-header-size").and_then(|size| size.parse().ok());
                Self::Binary { json_bytes: size.ok_or(MediaError::NoHeaderSize)? }
            }
            _ => return Err(MediaError::Unsupported(essence.chars().take(64).collect())),
        })
    }

    /// The form of `body`, guessed where the header did not say it.
    pub(in crate::protocol) fn of(self, body: &[u8]) -> Self {
        match (self, body.trim_ascii_start().first()) {
            (Self::Unnamed, Some(b'{' | b'[')) => Self::Json,
            (Self::Unnamed, _) => Self::Csv { header: None },
            (named, _) => named,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_name_forms() {
        let cases = [
            ("application/json; charset=utf-8", Media::Json),
            ("Application/JSON", Media::Json),
            ("application/x-ndjson", Media::Lines),
            ("text/csv", Media::Csv { header: None }),
            ("text/csv; charset=utf-8; header=present", Media::Csv { header: Some(true) }),
            ("text/csv;header=\"absent\"", Media::Csv { header: Some(false) }),
            ("application/x-npy", Media::Npy),
            ("", Media::Unnamed),
            ("*/*", Media::Unnamed),
            ("application/x-www-form-urlencoded", Media::Unnamed),
            (
                "application/vnd.sagemaker-triton.binary+json;json-header-size=123",
                Media::Binary { json_bytes: 123 },
            ),
        ];
        for (header, media) in cases {
            assert_eq!(Media::parse(header), Ok(media), "{header}");
        }
        assert_eq!(Media::parse(BINARY), Err(MediaError::NoHeaderSize));
        let error = Media::parse("image/png").expect_err("not tensors");
        assert!(error.to_string().starts_with("content type \"image/png\" is not supported"));
    }

    #[test]
    fn a_form_that_is_not_said_is_seen() {
        assert_eq!(Media::Unnamed.of(b" {}"), Media::Json);
        assert_eq!(Media::Unnamed.of(b"[1]"), Media::Json);
        assert_eq!(Media::Unnamed.of(b"1,2"), Media::Csv { header: None });
        assert_eq!(Media::Lines.of(b"[1]"), Media::Lines);
    }
}
