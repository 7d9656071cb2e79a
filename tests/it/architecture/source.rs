//! A source file as the rules see it: tokens with their lines, and the paths that they spell.
//!
//! Owns just enough of Rust's lexical grammar to tell code from comments and strings, and of its
//! paths to follow `use` trees, `super` and inline modules. Never expands a macro.

/// A piece of code that matters to a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A word.
    Ident(String),
    /// The content of a string literal.
    Text(String),
    /// `::`
    Separator,
    /// Any other character.
    Punct(char),
}

/// A path as it is written, with `use` trees taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CodePath {
    pub(super) line: usize,
    pub(super) segments: Vec<String>,
    /// The module that it is written in.
    module: Vec<String>,
}

/// A file, taken apart.
#[derive(Debug)]
pub(super) struct Source {
    /// The path below the repository's root.
    pub(super) name: String,
    pub(super) tokens: Vec<(usize, Token)>,
    pub(super) paths: Vec<CodePath>,
}

impl Source {
    pub(super) fn parse(name: &str, text: &str) -> Self {
        let tokens = Lexer { rest: text.chars().collect(), at: 0, line: 1 }.run();
        let paths = paths(&tokens, &module_of(name));
        Self { name: name.to_owned(), tokens, paths }
    }

    /// The room that the file belongs to.
    pub(super) fn room(&self) -> String {
        let below = self.name.strip_prefix("src/").unwrap_or(&self.name);
        let first = below.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first).to_owned()
    }
}

impl CodePath {
    /// The path below the crate's root, for paths that lead there.
    pub(super) fn in_crate(&self) -> Option<Vec<String>> {
        let mut rest = self.segments.as_slice();
        let mut module = match rest.first()?.as_str() {
            "crate" | "pointsman" => Vec::new(),
            "self" | "super" => self.module.clone(),
            _ => return None,
        };
        while let [first, after @ ..] = rest {
            match first.as_str() {
                "crate" | "pointsman" | "self" => {}
                "super" => drop(module.pop()),
                _ => break,
            }
            rest = after;
        }
        module.extend_from_slice(rest);
        Some(module)
    }
}

/// `src/proxy/upstream/link.rs` as `proxy`, `upstream`, `link`.
fn module_of(name: &str) -> Vec<String> {
    let below = name.strip_prefix("src/").unwrap_or(name);
    let below = below.strip_suffix(".rs").unwrap_or(below);
    match below {
        "lib" | "main" => Vec::new(),
        _ => below.split('/').map(str::to_owned).collect(),
    }
}

/// Every path in `tokens`. Follows inline modules, in which `super` counts from further down.
fn paths(tokens: &[(usize, Token)], file: &[String]) -> Vec<CodePath> {
    let mut found = Vec::new();
    let mut depth = 0_usize;
    let mut inline: Vec<(usize, String)> = Vec::new();
    let mut at = 0;
    while let Some((line, token)) = tokens.get(at) {
        match token {
            Token::Punct('{') => depth += 1,
            Token::Punct('}') => {
                depth = depth.saturating_sub(1);
                inline.retain(|(opened, _)| *opened < depth + 1);
            }
            Token::Ident(word) if word == "mod" => {
                if let [(_, Token::Ident(name)), (_, Token::Punct('{')), ..] = &tokens[at + 1..] {
                    inline.push((depth + 1, name.clone()));
                }
            }
            Token::Ident(word) if is_path(tokens, at, word) => {
                let own = inline.iter().map(|(_, name)| name.clone());
                let module: Vec<String> = file.iter().cloned().chain(own).collect();
                let mut branches = Vec::new();
                at = branch(tokens, at, &[], &mut branches);
                let path = |segments| CodePath { line: *line, segments, module: module.clone() };
                found.extend(branches.into_iter().map(path));
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Whether a path begins here: a word before `::`, or the whole crate under another name.
fn is_path(tokens: &[(usize, Token)], at: usize, word: &str) -> bool {
    match tokens.get(at + 1) {
        Some((_, Token::Separator)) => true,
        Some((_, Token::Ident(next))) => word == "crate" && next == "as",
        _ => false,
    }
}

/// Reads one branch of a path tree and returns where it ends.
fn branch(
    tokens: &[(usize, Token)],
    mut at: usize,
    before: &[String],
    found: &mut Vec<Vec<String>>,
) -> usize {
    let mut segments = before.to_vec();
    loop {
        match tokens.get(at) {
            Some((_, Token::Ident(word))) => segments.push(word.clone()),
            Some((_, Token::Punct('*'))) => segments.push("*".to_owned()),
            Some((_, Token::Punct('{'))) => return group(tokens, at + 1, &segments, found),
            // The end, or `::<` of a turbofish.
            _ => {
                found.push(segments);
                return at;
            }
        }
        at += 1;
        if !matches!(tokens.get(at), Some((_, Token::Separator))) {
            found.push(segments);
            return at;
        }
        at += 1;
    }
}

/// Reads the branches between braces and returns where the group ends.
fn group(
    tokens: &[(usize, Token)],
    mut at: usize,
    before: &[String],
    found: &mut Vec<Vec<String>>,
) -> usize {
    while let Some((_, token)) = tokens.get(at) {
        match token {
            Token::Punct('}') => return at + 1,
            Token::Punct(',') => at += 1,
            // An alias.
            Token::Ident(word) if word == "as" => at += 2,
            Token::Ident(_) | Token::Punct('*' | '{') => at = branch(tokens, at, before, found),
            _ => at += 1,
        }
    }
    at
}

/// Cuts text into tokens.
struct Lexer {
    rest: Vec<char>,
    at: usize,
    line: usize,
}

impl Lexer {
    fn run(mut self) -> Vec<(usize, Token)> {
        let mut tokens = Vec::new();
        while let Some(next) = self.peek(0) {
            let line = self.line;
            match (next, self.peek(1)) {
                ('/', Some('/')) => self.skip_while(|c| c != '\n'),
                ('/', Some('*')) => self.skip_block_comment(),
                ('"', _) => tokens.push((line, Token::Text(self.string()))),
                ('\'', _) => self.skip_char_or_lifetime(),
                (':', Some(':')) => {
                    self.skip(2);
                    tokens.push((line, Token::Separator));
                }
                (c, _) if c.is_alphabetic() || c == '_' => {
                    if let Some(token) = self.word() {
                        tokens.push((line, token));
                    }
                }
                // Numbers, so that `1e5` and `0x1f` are not words.
                (c, _) if c.is_ascii_digit() => {
                    self.skip_while(|c| c.is_alphanumeric() || c == '_');
                }
                (c, _) => {
                    self.skip(1);
                    if !c.is_whitespace() {
                        tokens.push((line, Token::Punct(c)));
                    }
                }
            }
        }
        tokens
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.rest.get(self.at + ahead).copied()
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.line += usize::from(self.peek(0) == Some('\n'));
            self.at += 1;
        }
    }

    fn skip_while(&mut self, holds: impl Fn(char) -> bool) {
        while self.peek(0).is_some_and(&holds) {
            self.skip(1);
        }
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0_usize;
        while let Some(next) = self.peek(0) {
            match (next, self.peek(1)) {
                ('/', Some('*')) => depth += 1,
                ('*', Some('/')) => depth -= 1,
                _ => {
                    self.skip(1);
                    continue;
                }
            }
            self.skip(2);
            if depth == 0 {
                return;
            }
        }
    }

    /// A character is closed by a quote; a lifetime is not.
    fn skip_char_or_lifetime(&mut self) {
        self.skip(1);
        if self.peek(0) == Some('\\') {
            self.skip(2);
            self.skip_while(|c| c != '\'');
            self.skip(1);
        } else if self.peek(1) == Some('\'') {
            self.skip(2);
        }
    }

    fn string(&mut self) -> String {
        self.skip(1);
        let begin = self.at;
        while let Some(next) = self.peek(0) {
            match next {
                '"' => break,
                '\\' => self.skip(2),
                _ => self.skip(1),
            }
        }
        self.taken(begin, 1)
    }

    /// A word, or the string literal that it is the prefix of (`r"…"`, `b"…"`, `br#"…"#`).
    fn word(&mut self) -> Option<Token> {
        let begin = self.at;
        self.skip_while(|c| c.is_alphanumeric() || c == '_');
        let word: String = self.rest.get(begin..self.at)?.iter().collect();
        let hashes = (0..).take_while(|ahead| self.peek(*ahead) == Some('#')).count();
        match (word.as_str(), self.peek(hashes)) {
            ("r" | "br" | "cr", Some('"')) => {
                self.skip(hashes + 1);
                let begin = self.at;
                while self.peek(0).is_some() && !self.closes_raw(hashes) {
                    self.skip(1);
                }
                Some(Token::Text(self.taken(begin, hashes + 1)))
            }
            ("b" | "c", Some('"')) if hashes == 0 => Some(Token::Text(self.string())),
            ("b", Some('\'')) if hashes == 0 => {
                self.skip_char_or_lifetime();
                None
            }
            // `r#type`
            ("r", Some(_)) if hashes == 1 => {
                self.skip(1);
                self.word()
            }
            _ => Some(Token::Ident(word)),
        }
    }

    fn closes_raw(&self, hashes: usize) -> bool {
        self.peek(0) == Some('"') && (1..=hashes).all(|ahead| self.peek(ahead) == Some('#'))
    }

    /// What was read since `begin`; skips the closing delimiter.
    fn taken(&mut self, begin: usize, closing: usize) -> String {
        let end = self.at.min(self.rest.len());
        let text = self.rest.get(begin..end).unwrap_or_default().iter().collect();
        self.skip(closing);
        text
    }
}
