//! Which paths have one reading only. Pure. Called by [`super::validate`].
//!
//! What a policy judges must be what the instance serves, and the two decode differently. So a path that could mean two things
//! is refused, and what passes goes on byte for byte:
//!
//! * an encoded slash passes behind the first two segments, where nothing routes by it and real clients need it
//!   (`/api/proxy/gitlab/projects/group%2Fname`); dot segments count across encoded slashes too;
//! * in the first two segments, which choose the plugin, nothing may have two spellings: no encoded letter, dot,
//!   slash or percent sign, no `API` (Express matches paths without case), no `.ORBIT`.

use super::validate::Reject;

/// Refuses a path that two programs could read as two different ones.
pub(super) fn check_path(path: &str) -> Result<(), Reject> {
    let Some(inside) = path.strip_prefix('/') else { return Err(Reject::TargetForm) };
    let bytes = inside.as_bytes();
    // Segments end at a slash in either spelling.
    let (mut segment_start, mut at) = (0, 0);
    // Length of the segment as its decoded dots, while it holds nothing else.
    let mut dots = Some(0u32);
    let mut segments = 0;
    loop {
        let (byte, width) = match bytes.get(at) {
            None => (b'/', 0),
            Some(b'%') => (decode(bytes.get(at + 1..at + 3)).ok_or(Reject::Path)?, 3),
            Some(byte) => (*byte, 1),
        };
        if width == 3 && segments < 2 && (byte == b'/' || byte == b'%' || is_unreserved(byte)) {
            return Err(Reject::Path);
        }
        if byte < b' ' || byte == 0x7f || byte == b'\\' {
            return Err(Reject::Path);
        }
        if byte == b'/' {
            let empty = at == segment_start;
            // `//` anywhere; a single slash at the end is fine.
            if empty && width != 0 || matches!(dots, Some(1 | 2)) {
                return Err(Reject::Path);
            }
            if segments < 2 {
                check_routing_segment(segments, &inside[segment_start..at], inside)?;
            }
            segments += 1;
            (segment_start, dots) = (at + width, Some(0));
        } else if byte == b'.' {
            dots = dots.map(|dots| dots + 1);
        } else {
            dots = None;
        }
        if width == 0 {
            return Ok(());
        }
        at += width;
    }
}

/// The segments that choose between plugins and local pages have one spelling only.
fn check_routing_segment(position: u32, segment: &str, inside: &str) -> Result<(), Reject> {
    let twisted = match position {
        0 => ["api", ".orbit", ".backstage"].iter().any(|name| segment.eq_ignore_ascii_case(name) && segment != *name),
        _ => inside.starts_with("api/") && segment.bytes().any(|byte| byte.is_ascii_uppercase()),
    };
    if twisted { Err(Reject::Path) } else { Ok(()) }
}

/// The byte that two hex digits stand for.
pub(super) fn decode(digits: Option<&[u8]>) -> Option<u8> {
    let digits = std::str::from_utf8(digits?).ok()?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}
