//! Decides the names in the data: companies, people, towns. Company number i is the same in every app, so its accounts and
//! customers share a name and an e-mail domain and can be joined.

use crate::chance::Chance;

const FIRST_WORDS: [&str; 24] = [
    "Alder",
    "Birch",
    "Cobalt",
    "Delta",
    "Ember",
    "Falcon",
    "Granite",
    "Harbor",
    "Indigo",
    "Juniper",
    "Keystone",
    "Lumen",
    "Meridian",
    "Northwind",
    "Onyx",
    "Pioneer",
    "Quartz",
    "Ridge",
    "Summit",
    "Tidewater",
    "Umber",
    "Vertex",
    "Willow",
    "Zenith",
];
const SECOND_WORDS: [&str; 16] = [
    "Logistics",
    "Foods",
    "Robotics",
    "Health",
    "Energy",
    "Media",
    "Systems",
    "Textiles",
    "Analytics",
    "Marine",
    "Optics",
    "Paper",
    "Tools",
    "Travel",
    "Water",
    "Works",
];
const FIRST_NAMES: [&str; 24] = [
    "Ada", "Bruno", "Chiara", "Dmitri", "Elif", "Farah", "Grace", "Hugo", "Ines", "Jonas", "Kavya", "Liam", "Maya",
    "Noah", "Olga", "Pedro", "Quinn", "Rosa", "Søren", "Tariq", "Uma", "Viktor", "Wen", "Zoë",
];
const LAST_NAMES: [&str; 20] = [
    "Andersen",
    "Bauer",
    "Castillo",
    "Duarte",
    "Evans",
    "Fischer",
    "García",
    "Hughes",
    "Ito",
    "Jensen",
    "Kowalski",
    "Lindqvist",
    "Moreau",
    "Nakamura",
    "O'Brien",
    "Petrov",
    "Rossi",
    "Silva",
    "Tanaka",
    "Weber",
];
/// Town, state, postal code, country, latitude, longitude.
pub const TOWNS: [(&str, &str, &str, &str, f64, f64); 10] = [
    ("San Francisco", "CA", "94105", "US", 37.789_267, -122.396_941),
    ("Austin", "TX", "78701", "US", 30.271_129, -97.743_7),
    ("Chicago", "IL", "60601", "US", 41.885_31, -87.622_13),
    ("Toronto", "ON", "M5H 2N2", "CA", 43.653_963, -79.387_207),
    ("London", "England", "EC1A 1BB", "GB", 51.520_41, -0.097_4),
    ("Berlin", "Berlin", "10115", "DE", 52.532_3, 13.384_6),
    ("Paris", "Île-de-France", "75001", "FR", 48.862_5, 2.336_4),
    ("São Paulo", "SP", "01310-100", "BR", -23.561_4, -46.655_9),
    ("Tokyo", "Tokyo", "100-0001", "JP", 35.685_2, 139.752_8),
    ("Sydney", "NSW", "2000", "AU", -33.868_8, 151.209_3),
];
const STREETS: [&str; 8] = [
    "Market Street",
    "Mill Lane",
    "Hauptstraße",
    "King Street",
    "Rua Augusta",
    "Rue de Rivoli",
    "Harbour Road",
    "Oak Avenue",
];

/// The name of company number `i`.
pub fn company(i: u64) -> String {
    let first = FIRST_WORDS[(i % 24) as usize];
    let second = SECOND_WORDS[(i / 24 % 16) as usize];
    match i / 384 {
        0 => format!("{first} {second}"),
        round => format!("{first} {second} {}", round + 1),
    }
}

/// The e-mail and web domain of company number `i`.
pub fn domain(i: u64) -> String {
    format!("{}.example", company(i).to_ascii_lowercase().replace(' ', "-"))
}

/// First and last name of person number `i`.
pub fn person(i: u64) -> (&'static str, &'static str) {
    (FIRST_NAMES[(i % 24) as usize], LAST_NAMES[(i / 24 + i) as usize % 20])
}

/// The mailbox of person number `i` at company number `of`.
pub fn mailbox(i: u64, of: u64) -> String {
    let (first, last) = person(i);
    let plain = |name: &str| name.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect::<String>();
    format!("{}.{}{}@{}", plain(first), plain(last), i, domain(of))
}

pub fn street(chance: &mut Chance) -> String {
    format!("{} {}", chance.between(1, 980), chance.pick(&STREETS))
}

/// A sentence or two about nothing, of about `words` words.
pub fn prose(chance: &mut Chance, words: usize) -> String {
    const WORDS: [&str; 28] = [
        "the",
        "customer",
        "asked",
        "for",
        "a",
        "new",
        "quote",
        "after",
        "our",
        "last",
        "call",
        "and",
        "wants",
        "delivery",
        "before",
        "end",
        "of",
        "quarter",
        "with",
        "extended",
        "support",
        "in",
        "two",
        "regions",
        "while",
        "procurement",
        "reviews",
        "terms",
    ];
    let mut text = String::new();
    for n in 0..words {
        if n > 0 {
            text.push(' ');
        }
        text.push_str(chance.pick(&WORDS));
    }
    if let Some(first) = text.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    text.push('.');
    text
}
