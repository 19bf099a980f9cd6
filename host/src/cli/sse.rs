//! Server-sent events, as far as orbitd's own API sends them: `event:` and `data:` lines, a blank line ends one.

/// Bytes of one event; a longer one is dropped.
const MAX_EVENT: usize = 1 << 20;

/// What was received and is no whole event yet.
#[derive(Default)]
pub struct Events {
    buffer: Vec<u8>,
    skipping: bool,
}

impl Events {
    /// More bytes; the whole events in them, as name and data.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<(String, String)> {
        self.buffer.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = self.buffer.drain(..end + 2).collect();
            if !std::mem::take(&mut self.skipping) {
                events.extend(parse(&String::from_utf8_lossy(&event)));
            }
        }
        if self.buffer.len() > MAX_EVENT {
            self.buffer.clear();
            self.skipping = true;
        }
        events
    }
}

fn parse(text: &str) -> Option<(String, String)> {
    let (mut name, mut data) = (String::new(), Vec::new());
    for line in text.lines() {
        match line.split_once(':').map(|(field, value)| (field, value.strip_prefix(' ').unwrap_or(value))) {
            Some(("event", value)) => value.clone_into(&mut name),
            Some(("data", value)) => data.push(value),
            // A comment keeps the connection alive.
            _ => {}
        }
    }
    (!data.is_empty()).then(|| (name, data.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_however_the_bytes_are_cut() {
        let text = b": hello\n\nevent: decision\ndata: {\"a\":1}\n\nevent: dropped\ndata: 1\ndata: 2\n\ndata: half";
        for size in 1..text.len() {
            let mut events = Events::default();
            let all: Vec<_> = text.chunks(size).flat_map(|chunk| events.push(chunk)).collect();
            let expected = [("decision", "{\"a\":1}"), ("dropped", "1\n2")];
            assert_eq!(all, expected.map(|(name, data)| (name.to_owned(), data.to_owned())), "chunks of {size}");
        }
        let mut events = Events::default();
        assert!(events.push(&vec![b'x'; MAX_EVENT + 1]).is_empty());
        assert_eq!(events.push(b"y\n\ndata: z\n\n"), [(String::new(), "z".to_owned())]);
    }
}
