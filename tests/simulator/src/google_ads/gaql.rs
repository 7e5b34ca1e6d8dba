//! Decides what a text in the Google Ads Query Language says. What the fields mean is decided in `fields` and `eval`.
//!
//! Follows the grammar at developers.google.com/google-ads/api/docs/query/grammar: there is no OR, no `<>`, and keywords
//! may be written in any case. Of `PARAMETERS` only `omit_unselected_resource_names` has an effect here.

use super::errors::Refusal;

#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    Text(String),
    Number(f64, String),
    /// A bare word: an enum constant, a boolean, or a named date range.
    Word(String),
}

impl Literal {
    pub fn text(&self) -> &str {
        match self {
            Literal::Text(text) | Literal::Number(_, text) | Literal::Word(text) => text,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    In,
    NotIn,
    Like,
    NotLike,
    ContainsAny,
    ContainsAll,
    ContainsNone,
    IsNull,
    IsNotNull,
    During,
    Between,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    pub field: String,
    pub operator: Operator,
    pub values: Vec<Literal>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query {
    pub select: Vec<String>,
    pub from: String,
    pub conditions: Vec<Condition>,
    /// Field, and whether the largest comes first.
    pub order: Vec<(String, bool)>,
    pub limit: Option<usize>,
    pub omits_resource_names: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(f64, String),
    Sign(&'static str),
}

impl Token {
    fn shown(&self) -> String {
        match self {
            Token::Word(text) | Token::Text(text) | Token::Number(_, text) => text.clone(),
            Token::Sign(sign) => (*sign).to_string(),
        }
    }
}

fn tokens(query: &str) -> Result<Vec<Token>, Refusal> {
    let chars: Vec<char> = query.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        if c.is_whitespace() {
            at += 1;
        } else if c == '\'' || c == '"' {
            at = text(&chars, at, c, &mut found)?;
        } else if c.is_ascii_digit() || (c == '-' && chars.get(at + 1).is_some_and(char::is_ascii_digit)) {
            let from = at;
            at += 1;
            while chars.get(at).is_some_and(|c| c.is_ascii_digit() || *c == '.') {
                at += 1;
            }
            let shown: String = chars[from..at].iter().collect();
            let number =
                shown.parse().map_err(|_| Refusal::query("BAD_NUMBER", format!("Invalid number '{shown}'.")))?;
            found.push(Token::Number(number, shown));
        } else if c.is_ascii_alphabetic() || c == '_' {
            let from = at;
            while chars.get(at).is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == '.') {
                at += 1;
            }
            found.push(Token::Word(chars[from..at].iter().collect()));
        } else {
            let pair: String = chars[at..].iter().take(2).collect();
            let sign = [">=", "<=", "!=", "=", ">", "<", ",", "(", ")"].into_iter().find(|s| pair.starts_with(s));
            match sign {
                _ if pair == "<>" => return Err(Refusal::query("BAD_OPERATOR", "Invalid operator '<>'.".into())),
                Some(sign) => {
                    at += sign.len();
                    found.push(Token::Sign(sign));
                }
                None if !c.is_ascii() => {
                    let message = format!("Unexpected non-ASCII symbol '{c}' outside of strings.");
                    return Err(Refusal::query("BAD_SYMBOL", message));
                }
                None => return Err(Refusal::query("UNEXPECTED_INPUT", format!("Unexpected input {c}."))),
            }
        }
    }
    Ok(found)
}

/// Reads a quoted string that begins at `at` and gives the place behind it.
fn text(chars: &[char], at: usize, quote: char, found: &mut Vec<Token>) -> Result<usize, Refusal> {
    let mut value = String::new();
    let mut at = at + 1;
    loop {
        match chars.get(at) {
            None => return Err(Refusal::query("STRING_NOT_TERMINATED", "A string is not terminated.".into())),
            Some('\n') => {
                return Err(Refusal::query("PROHIBITED_NEWLINE_IN_STRING", "A string contains a newline.".into()))
            }
            Some('\\') => {
                match chars.get(at + 1) {
                    Some(c @ ('\\' | '\'' | '"' | 'n' | 't')) => value.push(*c),
                    _ => {
                        let message = "An invalid escape sequence was found.".to_string();
                        return Err(Refusal::query("BAD_ESCAPE_SEQUENCE", message));
                    }
                }
                at += 2;
            }
            Some(c) if *c == quote => {
                found.push(Token::Text(value));
                return Ok(at + 1);
            }
            Some(c) => {
                value.push(*c);
                at += 1;
            }
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn word_is(&self, ahead: usize, word: &str) -> bool {
        matches!(self.tokens.get(self.at + ahead), Some(Token::Word(w)) if w.eq_ignore_ascii_case(word))
    }

    /// Takes the words if they come next.
    fn skip(&mut self, words: &[&str]) -> bool {
        let there = words.iter().enumerate().all(|(ahead, word)| self.word_is(ahead, word));
        if there {
            self.at += words.len();
        }
        there
    }

    fn sign(&mut self, sign: &str) -> bool {
        let there = matches!(self.tokens.get(self.at), Some(Token::Sign(s)) if *s == sign);
        self.at += usize::from(there);
        there
    }

    fn end() -> Refusal {
        Refusal::query("UNEXPECTED_END_OF_QUERY", "Query is incomplete: unexpected end of query.".into())
    }

    fn next(&mut self) -> Result<Token, Refusal> {
        let token = self.tokens.get(self.at).cloned().ok_or_else(Parser::end)?;
        self.at += 1;
        Ok(token)
    }

    fn unexpected(token: &Token) -> Refusal {
        Refusal::query("UNEXPECTED_INPUT", format!("Error in query: unexpected input {}.", token.shown()))
    }

    fn field(&mut self) -> Result<String, Refusal> {
        match self.next()? {
            Token::Word(word) => Ok(word),
            token => Err(Parser::unexpected(&token)),
        }
    }

    fn literal(&mut self) -> Result<Literal, Refusal> {
        match self.next()? {
            Token::Text(text) => Ok(Literal::Text(text)),
            Token::Number(number, text) => Ok(Literal::Number(number, text)),
            Token::Word(word) => Ok(Literal::Word(word)),
            token => Err(Parser::unexpected(&token)),
        }
    }

    fn list(&mut self) -> Result<Vec<Literal>, Refusal> {
        if !self.sign("(") {
            return Err(Refusal::query("EXPECTED_LIST", "The operator requires a list of values.".into()));
        }
        if self.sign(")") {
            let message = "A condition was found with an empty list.".to_string();
            return Err(Refusal::query("PROHIBITED_EMPTY_LIST_IN_CONDITION", message));
        }
        let mut values = vec![self.literal()?];
        while self.sign(",") {
            values.push(self.literal()?);
        }
        if self.sign(")") {
            return Ok(values);
        }
        Err(self.tokens.get(self.at).map_or_else(Parser::end, Parser::unexpected))
    }

    fn operator(&mut self) -> Result<Operator, Refusal> {
        use Operator::*;
        for (words, operator) in [
            (&["NOT", "IN"] as &[&str], NotIn),
            (&["IN"], In),
            (&["NOT", "LIKE"], NotLike),
            (&["LIKE"], Like),
            (&["CONTAINS", "ANY"], ContainsAny),
            (&["CONTAINS", "ALL"], ContainsAll),
            (&["CONTAINS", "NONE"], ContainsNone),
            (&["IS", "NOT", "NULL"], IsNotNull),
            (&["IS", "NULL"], IsNull),
            (&["DURING"], During),
            (&["BETWEEN"], Between),
        ] {
            if self.skip(words) {
                return Ok(operator);
            }
        }
        match self.next()? {
            Token::Sign("=") => Ok(Equal),
            Token::Sign("!=") => Ok(NotEqual),
            Token::Sign(">") => Ok(Greater),
            Token::Sign(">=") => Ok(GreaterOrEqual),
            Token::Sign("<") => Ok(Less),
            Token::Sign("<=") => Ok(LessOrEqual),
            token => Err(Refusal::query("BAD_OPERATOR", format!("Invalid operator '{}'.", token.shown()))),
        }
    }

    fn condition(&mut self) -> Result<Condition, Refusal> {
        let field = self.field()?;
        let operator = self.operator()?;
        let values = match operator {
            Operator::IsNull | Operator::IsNotNull => Vec::new(),
            Operator::In | Operator::NotIn | Operator::ContainsAny | Operator::ContainsAll | Operator::ContainsNone => {
                self.list()?
            }
            Operator::Between => {
                let from = self.literal()?;
                if !self.skip(&["AND"]) {
                    let message = "Expected AND between values with BETWEEN operator.".to_string();
                    return Err(Refusal::query("EXPECTED_AND", message));
                }
                vec![from, self.literal()?]
            }
            _ if self.sign("(") => {
                let message = format!("Expected a single value for field '{field}'.");
                return Err(Refusal::query("EXPECTED_SINGLE_VALUE", message));
            }
            _ => vec![self.literal()?],
        };
        Ok(Condition { field, operator, values })
    }

    fn limit(&mut self) -> Result<usize, Refusal> {
        match self.next()? {
            Token::Number(number, _) if number < 1.0 => {
                Err(Refusal::query("LIMIT_VALUE_TOO_LOW", "The limit must be at least 1.".into()))
            }
            Token::Number(number, _) if number.fract() == 0.0 => Ok(number as usize),
            token => {
                Err(Refusal::query("BAD_LIMIT_VALUE", format!("Limit value '{}' is not a number.", token.shown())))
            }
        }
    }
}

pub fn parse(query: &str) -> Result<Query, Refusal> {
    let mut parser = Parser { tokens: tokens(query)?, at: 0 };
    if !parser.skip(&["SELECT"]) {
        let message = "Error in query: unexpected input: SELECT is missing at the beginning of the query.".to_string();
        return Err(Refusal::query("EXPECTED_SELECT", message));
    }
    let mut select = vec![parser.field()?];
    while parser.sign(",") {
        select.push(parser.field()?);
    }
    if !parser.skip(&["FROM"]) {
        return Err(Refusal::query("EXPECTED_FROM", "Error in query: missing FROM clause.".into()));
    }
    let mut query = Query { select, from: parser.field()?, ..Query::default() };
    if parser.skip(&["WHERE"]) {
        query.conditions.push(parser.condition()?);
        while parser.skip(&["AND"]) {
            query.conditions.push(parser.condition()?);
        }
    }
    if parser.skip(&["ORDER"]) {
        if !parser.skip(&["BY"]) {
            return Err(Refusal::query("EXPECTED_BY", "Expecting ORDER BY to have BY.".into()));
        }
        loop {
            let field = parser.field()?;
            let descending = parser.skip(&["DESC"]);
            if !descending {
                parser.skip(&["ASC"]);
            }
            query.order.push((field, descending));
            if !parser.sign(",") {
                break;
            }
        }
    }
    if parser.skip(&["LIMIT"]) {
        query.limit = Some(parser.limit()?);
    }
    if parser.skip(&["PARAMETERS"]) {
        loop {
            let name = parser.field()?;
            if !["include_drafts", "omit_unselected_resource_names"].contains(&name.as_str()) {
                let message = format!("Parameter '{name}' is unknown or not supported.");
                return Err(Refusal::query("BAD_PARAMETER_NAME", message));
            }
            let value = if parser.sign("=") { parser.literal()?.text().to_string() } else { String::new() };
            if !matches!(value.as_str(), "true" | "false") {
                let message = format!("The value of parameter '{name}' is not supported.");
                return Err(Refusal::query("BAD_PARAMETER_VALUE", message));
            }
            query.omits_resource_names |= name == "omit_unselected_resource_names" && value == "true";
            if !parser.sign(",") {
                break;
            }
        }
    }
    match parser.tokens.get(parser.at) {
        None => Ok(query),
        Some(token) => Err(Parser::unexpected(token)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_with_every_clause_is_read() {
        let query = parse(
            "select campaign.id, metrics.clicks FROM campaign WHERE segments.date BETWEEN '2026-01-01' AND \"2026-01-31\" \
             and campaign.status != REMOVED AND campaign.name NOT IN ('a', 'it\\'s') AND metrics.clicks > 10 \
             ORDER BY metrics.clicks DESC, campaign.id LIMIT 50 PARAMETERS include_drafts=true",
        )
        .unwrap();
        assert_eq!(query.select, ["campaign.id", "metrics.clicks"]);
        assert_eq!(query.conditions.len(), 4);
        assert_eq!(query.conditions[0].operator, Operator::Between);
        assert_eq!(query.conditions[1].values, [Literal::Word("REMOVED".into())]);
        assert_eq!(query.conditions[2].values[1].text(), "it's");
        assert_eq!(query.order, [("metrics.clicks".to_string(), true), ("campaign.id".to_string(), false)]);
        assert_eq!(query.limit, Some(50));
    }

    #[test]
    fn each_mistake_has_its_own_code() {
        for (text, code) in [
            ("FROM campaign", "EXPECTED_SELECT"),
            ("SELECT campaign.id", "EXPECTED_FROM"),
            ("SELECT campaign.id FROM campaign WHERE campaign.id <> 1", "BAD_OPERATOR"),
            ("SELECT campaign.id FROM campaign WHERE campaign.id = 'x", "STRING_NOT_TERMINATED"),
            ("SELECT campaign.id FROM campaign WHERE segments.date BETWEEN '2026-01-01'", "EXPECTED_AND"),
            ("SELECT campaign.id FROM campaign WHERE campaign.id IN 1", "EXPECTED_LIST"),
            ("SELECT campaign.id FROM campaign WHERE campaign.id IN ()", "PROHIBITED_EMPTY_LIST_IN_CONDITION"),
            ("SELECT campaign.id FROM campaign WHERE campaign.id = 1 OR campaign.id = 2", "UNEXPECTED_INPUT"),
            ("SELECT campaign.id FROM campaign ORDER campaign.id", "EXPECTED_BY"),
            ("SELECT campaign.id FROM campaign LIMIT 0", "LIMIT_VALUE_TOO_LOW"),
            ("SELECT campaign.id FROM campaign LIMIT many", "BAD_LIMIT_VALUE"),
            ("SELECT campaign.id, FROM campaign", "EXPECTED_FROM"),
            ("SELECT campaign.id FROM campaign PARAMETERS nonsense=true", "BAD_PARAMETER_NAME"),
        ] {
            assert_eq!(parse(text).map_err(|r| r.code), Err(code.to_string()), "{text}");
        }
    }
}
