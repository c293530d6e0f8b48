//! Credentials as services of machines and containers write them.

use serde::Deserialize;
use tollway_model::Secret;

use super::{Credentials, time};

/// Reads `{"AccessKeyId","SecretAccessKey","Token","Expiration"}`; an error says what is wrong, without the body.
pub fn credentials_of(body: &[u8]) -> Result<Credentials, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        access_key_id: Option<String>,
        secret_access_key: Option<String>,
        #[serde(alias = "SessionToken")]
        token: Option<String>,
        expiration: Option<String>,
        code: Option<String>,
        message: Option<String>,
    }
    let answer: Answer =
        serde_json::from_slice(body).map_err(|_| "the answer is not JSON of credentials".to_owned())?;
    let (Some(access_key_id), Some(secret)) = (answer.access_key_id, answer.secret_access_key) else {
        let why = answer.message.or(answer.code).unwrap_or_else(|| "the answer holds no keys".to_owned());
        return Err(why);
    };
    let expires = match answer.expiration {
        Some(text) => Some(time::parse(&text).ok_or("the answer's expiration cannot be read")?),
        None => None,
    };
    let session_token = answer.token.map(Secret::from);
    Ok(Credentials { access_key_id, secret_access_key: Secret::from(secret), session_token, expires })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_failures_are_told() {
        let keys = credentials_of(
            br#"{"Code":"Success","AccessKeyId":"A","SecretAccessKey":"S","Token":"T","Expiration":"2015-08-30T12:36:00Z"}"#,
        )
        .unwrap();
        assert_eq!((keys.access_key_id.as_str(), keys.expires), ("A", Some(1_440_938_160)));
        assert_eq!(keys.session_token, Some("T".into()));
        assert_eq!(credentials_of(br#"{"Code":"Failed","Message":"no role"}"#), Err("no role".into()));
        assert!(credentials_of(b"<html>").is_err());
        assert!(credentials_of(br#"{"AccessKeyId":"A","SecretAccessKey":"S","Expiration":"soon"}"#).is_err());
    }
}
