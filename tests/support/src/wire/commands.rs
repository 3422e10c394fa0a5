//! Counts the commands in a client's half of a Redis conversation, wherever reads cut it.

use std::collections::BTreeMap;

/// Longest line that can belong to the protocol's framing.
const LINE_MAX: usize = 32;
/// Longest name of a command.
const NAME_MAX: usize = 32;

/// Where one conversation is. What is not Redis' protocol counts as nothing.
#[derive(Debug, Default)]
pub(super) struct Commands {
    /// Words that the command still has.
    words: usize,
    /// Bytes of the present word that are still to come, with their line end.
    bytes: usize,
    /// The line or the name that is being read.
    held: Vec<u8>,
    /// The next word is the command's name.
    names: bool,
    foreign: bool,
}

impl Commands {
    /// Reads more and counts the commands whose names are complete.
    pub(super) fn read(&mut self, bytes: &[u8], counts: &mut BTreeMap<String, u64>) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.foreign {
            rest = match self.bytes {
                0 => self.line(rest),
                _ => self.word(rest, counts),
            };
        }
    }

    fn line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(bytes.len(), |end| end + 1);
        self.held.extend_from_slice(&bytes[..taken.min(LINE_MAX)]);
        self.foreign = self.held.len() > LINE_MAX;
        if end.is_some() {
            let line = std::mem::take(&mut self.held);
            let number = std::str::from_utf8(&line[1..]).unwrap_or_default().trim();
            match (line[0], number.parse::<usize>()) {
                (b'*', Ok(words)) if self.words == 0 => {
                    self.words = words;
                    self.names = true;
                }
                (b'$', Ok(length)) if self.words > 0 => self.bytes = length + 2,
                _ => self.foreign = true,
            }
        }
        &bytes[taken..]
    }

    fn word<'a>(&mut self, bytes: &'a [u8], counts: &mut BTreeMap<String, u64>) -> &'a [u8] {
        let (word, rest) = bytes.split_at(self.bytes.min(bytes.len()));
        if self.names {
            self.held.extend_from_slice(word);
            self.held.truncate(NAME_MAX);
        }
        self.bytes -= word.len();
        if self.bytes == 0 {
            self.words -= 1;
            let name = std::mem::take(&mut self.held);
            if std::mem::take(&mut self.names) {
                let name = String::from_utf8_lossy(&name).trim().to_uppercase();
                *counts.entry(name).or_default() += 1;
            }
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_counted_wherever_reads_cut_them() {
        let conversation = b"*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nset\r\n$1\r\na\r\n$4\r\n*1\r\n\r\n\
            *2\r\n$4\r\nPING\r\n$0\r\n\r\n";
        for size in 1..conversation.len() {
            let (mut commands, mut counts) = (Commands::default(), BTreeMap::new());
            for piece in conversation.chunks(size) {
                commands.read(piece, &mut counts);
            }
            let wanted = [("PING".to_owned(), 2), ("SET".to_owned(), 1)];
            assert_eq!(counts, wanted.into(), "pieces of {size}");
        }
    }

    #[test]
    fn what_is_not_redis_counts_as_nothing() {
        let mut counts = BTreeMap::new();
        Commands::default().read(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", &mut counts);
        Commands::default().read(&[0; 100], &mut counts);
        assert_eq!(counts, BTreeMap::new());
    }
}
