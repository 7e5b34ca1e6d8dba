//! Decides what a SOQL text means: the part of the language that reading needs, with the errors of the real parser.

use crate::clock;

#[derive(Debug, Clone, PartialEq)]
pub enum Select {
    Fields(Vec<String>),
    Count,
    /// `FIELDS(ALL)`, `FIELDS(STANDARD)` or `FIELDS(CUSTOM)`.
    Group(String),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    Text(String),
    Number(f64),
    Bool(bool),
    Null,
    Instant(i64),
    Date(i64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Like,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    Compare { field: String, op: Op, to: Literal },
    In { field: String, negated: bool, set: Vec<Literal> },
}

#[derive(Debug, Clone, PartialEq)]
pub struct OrderBy {
    pub field: String,
    pub descending: bool,
    pub nulls_last: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub select: Select,
    pub object: String,
    pub filter: Option<Filter>,
    pub order: Vec<OrderBy>,
    pub limit: Option<usize>,
    pub offset: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Symbol(&'static str),
}

/// The query of a text, or the message of a MALFORMED_QUERY.
pub fn parse(text: &str) -> Result<Query, String> {
    if text.len() > 100_000 {
        return Err("SOQL statements cannot be longer than 100000 characters.".into());
    }
    Parser { tokens: tokens(text)?, at: 0 }.query()
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    const SYMBOLS: [&str; 12] = ["<=", ">=", "!=", "<>", "=", "<", ">", "(", ")", ",", ";", "*"];
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c.is_whitespace() {
            rest = &rest[c.len_utf8()..];
        } else if c == '\'' {
            let (value, after) = quoted(&rest[1..])?;
            out.push(Token::Text(value));
            rest = after;
        } else if let Some(symbol) = SYMBOLS.into_iter().find(|s| rest.starts_with(s)) {
            out.push(Token::Symbol(symbol));
            rest = &rest[symbol.len()..];
        } else {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || "_.:+-".contains(c))).unwrap_or(rest.len());
            if end == 0 {
                return Err(format!("line 1:{} no viable alternative at character '{c}'", text.len() - rest.len()));
            }
            out.push(Token::Word(rest[..end].to_string()));
            rest = &rest[end..];
        }
    }
    Ok(out)
}

/// A string literal after its opening quote: its value and what follows it. Backslashes before `%` and `_` stay for LIKE.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n' | 'N') => value.push('\n'),
                Some('r' | 'R') => value.push('\r'),
                Some('t' | 'T') => value.push('\t'),
                Some('b' | 'B') => value.push('\u{8}'),
                Some('f' | 'F') => value.push('\u{c}'),
                Some('u' | 'U') => {
                    let hex: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                    let code = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                    value.push(code.ok_or_else(|| format!("Illegal unicode escape \\u{hex}"))?);
                }
                Some(c @ ('%' | '_')) => {
                    value.push('\\');
                    value.push(c);
                }
                Some('\\') => value.push_str("\\\\"),
                Some(c @ ('\'' | '"')) => value.push(c),
                _ => return Err("Illegal string literal: Invalid string literal. Illegal character sequence".into()),
            },
            c => value.push(c),
        }
    }
    Err("line 1 unterminated string literal: expecting \"'\", found '<EOF>'".into())
}

/// A literal's text without the marks kept for LIKE.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(w)) if w.eq_ignore_ascii_case(word))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Symbol(s)) if *s == symbol);
        self.at += usize::from(found);
        found
    }

    fn unexpected<T>(&self) -> Result<T, String> {
        Err(match self.peek() {
            None => "unexpected token: '<EOF>'".into(),
            Some(Token::Word(w)) => format!("unexpected token: '{w}'"),
            Some(Token::Text(t)) => format!("unexpected token: '{t}'"),
            Some(Token::Symbol(s)) => format!("unexpected token: '{s}'"),
        })
    }

    fn need_symbol(&mut self, symbol: &str) -> Result<(), String> {
        if self.take_symbol(symbol) {
            Ok(())
        } else {
            self.unexpected()
        }
    }

    fn name(&mut self) -> Result<String, String> {
        match self.peek() {
            Some(Token::Word(w)) if w.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') => {
                let name = w.clone();
                self.at += 1;
                Ok(name)
            }
            _ => self.unexpected(),
        }
    }

    fn query(mut self) -> Result<Query, String> {
        if !self.take_word("select") {
            return self.unexpected();
        }
        let select = self.select()?;
        if !self.take_word("from") {
            return self.unexpected();
        }
        let object = self.name()?;
        let filter = if self.take_word("where") { Some(self.filter()?) } else { None };
        let mut order = Vec::new();
        if self.take_word("order") {
            if !self.take_word("by") {
                return self.unexpected();
            }
            loop {
                order.push(self.order_by()?);
                if !self.take_symbol(",") {
                    break;
                }
            }
        }
        let limit = if self.take_word("limit") { Some(self.count()?) } else { None };
        let offset = if self.take_word("offset") { self.count()? } else { 0 };
        if self.take_word("all") && !self.take_word("rows") {
            return self.unexpected();
        }
        if self.peek().is_some() {
            return self.unexpected();
        }
        if offset > 2000 {
            return Err("Maximum SOQL offset allowed is 2000".into());
        }
        if let Select::Group(group) = &select {
            if limit.is_none_or(|limit| limit > 200) && group != "STANDARD" {
                return Err("The SOQL FIELDS function must have a LIMIT of at most 200".into());
            }
        }
        Ok(Query { select, object, filter, order, limit, offset })
    }

    fn select(&mut self) -> Result<Select, String> {
        if self.is_word("count") && matches!(self.tokens.get(self.at + 1), Some(Token::Symbol("("))) {
            self.at += 2;
            self.need_symbol(")")?;
            return Ok(Select::Count);
        }
        if self.is_word("fields") && matches!(self.tokens.get(self.at + 1), Some(Token::Symbol("("))) {
            self.at += 2;
            let group = self.name()?.to_ascii_uppercase();
            self.need_symbol(")")?;
            return match group.as_str() {
                "ALL" | "STANDARD" | "CUSTOM" => Ok(Select::Group(group)),
                _ => Err(format!("unexpected token: '{group}'")),
            };
        }
        let mut fields = vec![self.name()?];
        while self.take_symbol(",") {
            fields.push(self.name()?);
        }
        Ok(Select::Fields(fields))
    }

    fn order_by(&mut self) -> Result<OrderBy, String> {
        let field = self.name()?;
        let descending = self.take_word("desc");
        if !descending {
            self.take_word("asc");
        }
        let mut nulls_last = false;
        if self.take_word("nulls") {
            nulls_last = self.take_word("last");
            if !nulls_last && !self.take_word("first") {
                return self.unexpected();
            }
        }
        Ok(OrderBy { field, descending, nulls_last })
    }

    fn count(&mut self) -> Result<usize, String> {
        match self.peek() {
            Some(Token::Word(w)) if w.bytes().all(|b| b.is_ascii_digit()) => {
                let number = w.parse().map_err(|_| format!("unexpected token: '{w}'"))?;
                self.at += 1;
                Ok(number)
            }
            _ => self.unexpected(),
        }
    }

    /// AND and OR cannot be mixed without parentheses, as in the real language.
    fn filter(&mut self) -> Result<Filter, String> {
        let first = self.term()?;
        for (word, other) in [("and", "or"), ("or", "and")] {
            if !self.is_word(word) {
                continue;
            }
            let mut all = vec![first];
            while self.take_word(word) {
                all.push(self.term()?);
            }
            if self.is_word(other) {
                return self.unexpected();
            }
            return Ok(if word == "and" { Filter::And(all) } else { Filter::Or(all) });
        }
        Ok(first)
    }

    fn term(&mut self) -> Result<Filter, String> {
        if self.take_word("not") {
            return Ok(Filter::Not(Box::new(self.term()?)));
        }
        if self.take_symbol("(") {
            let inner = self.filter()?;
            self.need_symbol(")")?;
            return Ok(inner);
        }
        let field = self.name()?;
        let negated = self.take_word("not");
        if self.take_word("in") {
            self.need_symbol("(")?;
            let mut set = vec![self.literal()?];
            while self.take_symbol(",") {
                set.push(self.literal()?);
            }
            self.need_symbol(")")?;
            return Ok(Filter::In { field, negated, set });
        }
        if negated {
            return self.unexpected();
        }
        let op = if self.take_word("like") {
            Op::Like
        } else {
            let op = match self.peek() {
                Some(Token::Symbol("=")) => Op::Eq,
                Some(Token::Symbol("!=" | "<>")) => Op::Ne,
                Some(Token::Symbol("<")) => Op::Lt,
                Some(Token::Symbol("<=")) => Op::Le,
                Some(Token::Symbol(">")) => Op::Gt,
                Some(Token::Symbol(">=")) => Op::Ge,
                _ => return self.unexpected(),
            };
            self.at += 1;
            op
        };
        Ok(Filter::Compare { field, op, to: self.literal()? })
    }

    fn literal(&mut self) -> Result<Literal, String> {
        let literal = match self.peek() {
            Some(Token::Text(text)) => Literal::Text(text.clone()),
            Some(Token::Word(word)) => match word.to_ascii_lowercase().as_str() {
                "null" => Literal::Null,
                "true" => Literal::Bool(true),
                "false" => Literal::Bool(false),
                "today" | "yesterday" | "tomorrow" => {
                    let day = clock::now_ms().div_euclid(DAY_MS) * DAY_MS;
                    let shift = [("today", 0), ("yesterday", -DAY_MS), ("tomorrow", DAY_MS)];
                    Literal::Date(
                        day + shift.iter().find(|(w, _)| word.eq_ignore_ascii_case(w)).map_or(0, |(_, ms)| *ms),
                    )
                }
                lower => {
                    if let Some(ms) = clock::parse_instant(word) {
                        Literal::Instant(ms)
                    } else if let Some(ms) = clock::parse_date(word) {
                        Literal::Date(ms)
                    } else if let Ok(number) = lower.parse::<f64>() {
                        Literal::Number(number)
                    } else {
                        return self.unexpected();
                    }
                }
            },
            _ => return self.unexpected(),
        };
        self.at += 1;
        Ok(literal)
    }
}

pub const DAY_MS: i64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_its_parts() {
        let query = parse("select Id, Name from Account where SystemModstamp >= 2024-01-02T03:04:05.000Z and (Name = 'O\\'Brien' or Name = null) order by SystemModstamp desc nulls last, Id limit 10 offset 5").unwrap();
        assert_eq!(query.select, Select::Fields(vec!["Id".into(), "Name".into()]));
        assert_eq!(query.object, "Account");
        assert_eq!((query.limit, query.offset), (Some(10), 5));
        assert_eq!(query.order[0], OrderBy { field: "SystemModstamp".into(), descending: true, nulls_last: true });
        let Some(Filter::And(parts)) = query.filter else { panic!("not an AND") };
        assert_eq!(
            parts[0],
            Filter::Compare { field: "SystemModstamp".into(), op: Op::Ge, to: Literal::Instant(1_704_164_645_000) }
        );
        let Filter::Or(names) = &parts[1] else { panic!("not an OR") };
        assert_eq!(names[0], Filter::Compare { field: "Name".into(), op: Op::Eq, to: Literal::Text("O'Brien".into()) });
        assert_eq!(names[1], Filter::Compare { field: "Name".into(), op: Op::Eq, to: Literal::Null });
    }

    #[test]
    fn literals_have_their_types() {
        for (text, want) in [
            ("3.5", Literal::Number(3.5)),
            ("-2", Literal::Number(-2.0)),
            ("TRUE", Literal::Bool(true)),
            ("2024-01-02", Literal::Date(1_704_153_600_000)),
            ("2024-01-02T03:04:05+00:00", Literal::Instant(1_704_164_645_000)),
            ("'a\\\\b\\n\\u0041'", Literal::Text("a\\\\b\nA".into())),
        ] {
            let query = parse(&format!("SELECT Id FROM X WHERE F = {text}")).unwrap();
            assert_eq!(query.filter, Some(Filter::Compare { field: "F".into(), op: Op::Eq, to: want }), "{text}");
        }
        assert_eq!(plain("a\\\\b\\%"), "a\\b%");
    }

    #[test]
    fn broken_queries_are_refused() {
        for text in [
            "",
            "SELECT FROM Account",
            "SELECT Id FROM Account WHERE",
            "SELECT Id FROM Account WHERE Name = 'open",
            "SELECT Id FROM Account WHERE A = 1 AND B = 2 OR C = 3",
            "SELECT Id FROM Account WHERE Name IS NULL",
            "SELECT * FROM Account",
            "SELECT Id FROM Account LIMIT x",
            "SELECT Id FROM Account GROUP BY Name",
            "SELECT FIELDS(ALL) FROM Account",
            "SELECT Id FROM Account; DROP",
            "SELECT Id FROM Account OFFSET 2001",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("SELECT COUNT() FROM Account").is_ok());
        assert!(parse("SELECT FIELDS(ALL) FROM Account LIMIT 200").is_ok());
        assert!(parse("SELECT Id FROM Account WHERE NOT (Name LIKE 'a%') AND Id NOT IN ('1','2')").is_ok());
    }
}
