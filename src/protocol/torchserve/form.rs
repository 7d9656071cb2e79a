//! The one part of a form (RFC 7578) that a handler reads.
//!
//! Owns where a part begins and ends; copies nothing. Parts with other names are stepped over.

/// A part of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) content_type: &'a str,
    pub(super) body: &'a [u8],
}

/// The most parts that are looked at.
const PARTS_MAX: usize = 64;

/// The boundary of a form; `None` when the content is not one.
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let mut parameters = content_type.split(';');
    if !parameters.next()?.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    });
    // Without one, or with an empty one, nothing will be found.
    Some(boundary.unwrap_or_default())
}

/// The longest boundary (RFC 2046, section 5.1.1): what a delimiter is looked for costs the length of both.
const BOUNDARY_BYTES_MAX: usize = 70;

/// The part that is called `data` or `body`, as TorchServe's handlers look for it.
pub(super) fn data_part<'a>(body: &'a [u8], boundary: &str) -> Result<Part<'a>, &'static str> {
    if boundary.is_empty() {
        return Err("the form has no boundary in its content type");
    }
    if boundary.len() > BOUNDARY_BYTES_MAX {
        return Err("the boundary of the form has more than 70 characters");
    }
    let delimiter = format!("--{boundary}");
    let mut rest = body;
    // The first delimiter may stand at the very start, the others after a line break.
    let start = find(rest, delimiter.as_bytes()).ok_or("the form has no parts")?;
    rest = rest.get(start + delimiter.len()..).unwrap_or_default();
    let end = format!("\r\n{delimiter}");
    for _ in 0..PARTS_MAX {
        if rest.starts_with(b"--") {
            return Err("the form has no part called \"data\" or \"body\"");
        }
        let start = find(rest, b"\r\n").ok_or("a part of the form ends in its delimiter")?;
        rest = rest.get(start..).unwrap_or_default();
        let stop = find(rest, end.as_bytes()).ok_or("the last part of the form does not end")?;
        let part = rest.get(..stop).unwrap_or_default();
        rest = rest.get(stop + end.len()..).unwrap_or_default();
        let head = find(part, b"\r\n\r\n").ok_or("a part of the form has no head")?;
        let (head, content) = (part.get(..head), part.get(head + 4..));
        let head = std::str::from_utf8(head.unwrap_or_default())
            .map_err(|_utf8| "the head of a part of the form is not UTF-8")?;
        let name = header(head, "content-disposition").and_then(part_name);
        if matches!(name, Some("data" | "body")) {
            let content_type = header(head, "content-type").unwrap_or_default();
            return Ok(Part { content_type, body: content.unwrap_or_default() });
        }
    }
    Err("the form has too many parts before the one called \"data\"")
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").find_map(|line| {
        let (own, value) = line.split_once(':')?;
        own.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn part_name(disposition: &str) -> Option<&str> {
    disposition.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("name").then(|| value.trim().trim_matches('"'))
    })
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "preamble\r\n--XX\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\n1\r\n\
        --XX\r\nContent-Disposition: form-data; name=\"data\"; filename=\"c.jpg\"\r\n\
        Content-Type: image/jpeg\r\n\r\nbytes\r\n--X\r\n\r\n--XX--\r\n";

    #[test]
    fn the_part_called_data_is_found_with_its_type() {
        let boundary = boundary("multipart/form-data; boundary=\"XX\"").unwrap();
        let part = data_part(FORM.as_bytes(), boundary).unwrap();
        assert_eq!(part, Part { content_type: "image/jpeg", body: b"bytes\r\n--X\r\n" });
    }

    #[test]
    fn what_is_not_a_form_says_why() {
        assert_eq!(boundary("application/json"), None);
        assert_eq!(boundary("multipart/form-data"), Some(""));
        for (body, why) in [
            ("", "no parts"),
            ("--XX--\r\n", "no part called"),
            ("--XX", "in its delimiter"),
            ("--XX\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\nx", "does not end"),
            ("--XX\r\nx\r\n--XX--", "no head"),
        ] {
            let error = data_part(body.as_bytes(), "XX").unwrap_err();
            assert!(error.contains(why), "{body:?}: {error}");
        }
        assert!(data_part(b"x", "").is_err());
        let long = "-".repeat(BOUNDARY_BYTES_MAX + 1);
        assert!(
            data_part(b"x", &long).unwrap_err().contains("70"),
            "each place would be compared with all of it"
        );
    }
}
