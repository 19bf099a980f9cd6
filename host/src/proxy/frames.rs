//! Where WebSocket frames end (RFC 6455, 5.2), so that a tunnel can be closed between two of them. Pure; it looks at headers alone.

/// The longest frame header: 2 bytes, 8 of length, 4 of mask.
const MAX_HEADER: usize = 14;

/// A server's close frame with status 1012, "service restart": the client may connect again at once.
pub(super) const SERVICE_RESTART: [u8; 4] = [0x88, 0x02, 0x03, 0xf4];

/// Follows one direction of a WebSocket.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; MAX_HEADER],
    filled: usize,
    payload_left: u64,
}

impl Frames {
    /// Takes the next bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.payload_left > 0 {
                let skipped = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len());
                self.payload_left -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            self.header[self.filled] = *first;
            self.filled += 1;
            bytes = rest;
            if self.filled == self.header_length() {
                self.payload_left = self.payload_length();
                self.filled = 0;
            }
        }
    }

    /// Between two frames.
    pub fn is_between(&self) -> bool {
        self.filled == 0 && self.payload_left == 0
    }

    /// As far as it is known: 2 until the second byte says more.
    fn header_length(&self) -> usize {
        if self.filled < 2 {
            return 2;
        }
        let extended = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + extended + if self.header[1] & 0x80 == 0 { 0 } else { 4 }
    }

    fn payload_length(&self) -> u64 {
        let big_endian = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        match self.header[1] & 0x7f {
            126 => big_endian(&self.header[2..4]),
            127 => big_endian(&self.header[2..10]),
            short => u64::from(short),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x82];
        match length {
            0..126 => frame.push(mask | length as u8),
            126..65_536 => {
                frame.push(mask | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(vec![7; if masked { 4 } else { 0 } + length]);
        frame
    }

    #[test]
    fn it_is_between_two_frames_at_their_ends_alone_however_they_are_cut() {
        for (length, masked) in [(0, false), (1, true), (125, false), (126, true), (65_535, false), (70_000, true)] {
            let bytes = frame(length, masked);
            for piece in [1, 3, 1_000, usize::MAX] {
                let mut frames = Frames::default();
                for _ in 0..2 {
                    let (all_but_one, last) = bytes.split_at(bytes.len() - 1);
                    for part in all_but_one.chunks(piece.min(bytes.len())) {
                        frames.feed(part);
                        assert!(!frames.is_between(), "{length} {masked} {piece}");
                    }
                    frames.feed(last);
                    assert!(frames.is_between(), "{length} {masked} {piece}");
                }
            }
        }
    }
}
