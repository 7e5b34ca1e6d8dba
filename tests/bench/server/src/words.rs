//! Decides what people, places and notes the records are filled with.

pub const FIRST: &[&str] = &[
    "Ada", "Amara", "Anna", "Ben", "Carlos", "Chloé", "Daniel", "Elif", "Emma", "Farid", "Grace", "Hana", "Ines",
    "Jamal", "João", "Kaito", "Lena", "Liam", "Mateo", "Mia", "Nadia", "Noah", "Olga", "Priya", "Rosa", "Sven", "Tara",
    "Umar", "Wei", "Zoë",
];
pub const LAST: &[&str] = &[
    "Abe", "Bauer", "Chen", "Costa", "Dubois", "Eriksson", "Fischer", "García", "Haddad", "Ivanova", "Jensen",
    "Kowalski", "Kumar", "Lopez", "Moreau", "Müller", "Nguyen", "O'Brien", "Okafor", "Park", "Rossi", "Sato", "Silva",
    "Smith", "Tanaka", "van Dijk", "Weber", "Yilmaz",
];
pub const STREETS: &[&str] = &[
    "Alder Lane",
    "Bridge Street",
    "Canal Row",
    "Church Road",
    "Elm Avenue",
    "Garden Walk",
    "Harbour Street",
    "High Street",
    "Hill Road",
    "Lake Drive",
    "Market Square",
    "Mill Lane",
    "North Parade",
    "Orchard Close",
    "Park Avenue",
    "Queen Street",
    "River View",
    "Station Road",
    "Sunset Boulevard",
    "Victoria Terrace",
];
/// City, state, country, currency, locale.
pub const PLACES: &[[&str; 5]] = &[
    ["San Francisco", "CA", "US", "usd", "en-US"],
    ["Austin", "TX", "US", "usd", "en-US"],
    ["Brooklyn", "NY", "US", "usd", "en-US"],
    ["Toronto", "ON", "CA", "cad", "en-CA"],
    ["Montréal", "QC", "CA", "cad", "fr-CA"],
    ["London", "England", "GB", "gbp", "en-GB"],
    ["Leeds", "England", "GB", "gbp", "en-GB"],
    ["Berlin", "Berlin", "DE", "eur", "de-DE"],
    ["München", "Bayern", "DE", "eur", "de-DE"],
    ["Lyon", "Auvergne-Rhône-Alpes", "FR", "eur", "fr-FR"],
    ["Sevilla", "Andalucía", "ES", "eur", "es-ES"],
    ["Osaka", "Osaka", "JP", "jpy", "ja-JP"],
    ["Sydney", "NSW", "AU", "aud", "en-AU"],
];
pub const PLANS: &[&str] =
    &["starter-monthly", "starter-yearly", "team-monthly", "team-yearly", "business-yearly", "enterprise"];
pub const CHANNELS: &[&str] = &["web", "ios", "android", "partner", "inside-sales", "import"];
pub const CAMPAIGNS: &[&str] =
    &["spring-launch", "referral-v2", "black-friday", "docs-banner", "conference-booth", "none"];
pub const PRODUCTS: &[&str] = &[
    "Standing desk, oak, 160 cm",
    "Noise-cancelling headset",
    "Seats for the design team",
    "Quarterly support retainer",
    "Replacement keyboard, ISO layout",
    "Annual licence, ten users",
    "Workshop ticket, two days",
    "Espresso beans, 6 kg",
];
pub const BRANDS: &[&str] = &["visa", "visa", "visa", "mastercard", "mastercard", "amex", "discover", "jcb"];
