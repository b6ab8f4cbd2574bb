//! How configuration values are shown to people: secrets are not.

const HIDDEN: &str = "(hidden)";

/// The value as it may appear in messages and logs.
pub(super) fn shown(key: &str, value: &str) -> String {
    if is_secret(key) {
        HIDDEN.to_owned()
    } else {
        without_password(value)
    }
}

/// By its name; the path of a file that holds one is none.
pub(super) fn is_secret(key: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or(key);
    let says_so = ["password", "secret", "seed", "token"]
        .iter()
        .any(|word| name.contains(word));
    says_so && !name.ends_with("_file")
}

/// Hides the password of a URL, in its user part (`//user:password@`) and in its query (`?password=`).
fn without_password(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else {
        return value.to_owned();
    };
    let (base, query) = rest
        .split_once('?')
        .map_or((rest, None), |(base, query)| (base, Some(query)));
    let base = match base.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => format!("{user}:{HIDDEN}@{host}"),
            None => base.to_owned(),
        },
        None => base.to_owned(),
    };
    let query = query.map_or_else(String::new, |query| {
        let parameters = query.split('&').map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if name.contains("password") => format!("{name}={HIDDEN}"),
            _ => parameter.to_owned(),
        });
        format!("?{}", parameters.collect::<Vec<_>>().join("&"))
    });
    format!("{scheme}://{base}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_everything_else_is_shown() {
        for (key, value, expected) in [
            ("nats.replicas", "3", "3"),
            ("nats.nkey_seed_file", "/run/seed", "/run/seed"),
            ("nats.nkey_seed", "SUAX", HIDDEN),
            ("database.password", "x", HIDDEN),
            ("auth.tokens_file", "/run/tokens", "/run/tokens"),
            (
                "database.url",
                "postgres://app@db/invoices",
                "postgres://app@db/invoices",
            ),
            (
                "database.url",
                "postgres://app:p:a@ss@db/invoices",
                "postgres://app:(hidden)@db/invoices",
            ),
            (
                "database.url",
                "postgres://db/i?user=a&password=b",
                "postgres://db/i?user=a&password=(hidden)",
            ),
            (
                "nats.url",
                "tls://a:4222,tls://b:4222",
                "tls://a:4222,tls://b:4222",
            ),
        ] {
            assert_eq!(shown(key, value), expected, "{key}");
        }
    }
}
