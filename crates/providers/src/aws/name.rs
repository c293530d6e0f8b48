//! Names of models, and what they say about the region.

/// A model as configuration writes it, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelName {
    /// What goes into the path: a model, an inference profile, or an ARN.
    pub(crate) id: String,
    /// The region that the name holds.
    pub(crate) region: Option<String>,
}

impl ModelName {
    /// Reads LiteLLM's spellings: `converse/MODEL`, `REGION/MODEL`, an ARN.
    pub(crate) fn parse(model: &str) -> ModelName {
        const ROUTES: [&str; 4] = ["converse/", "converse_like/", "invoke/", "bedrock/"];
        let (mut id, mut region) = (model, None);
        while !id.starts_with("arn:") {
            if let Some(rest) = ROUTES.iter().find_map(|route| id.strip_prefix(route)) {
                id = rest;
            } else if let Some((first, rest)) = id.split_once('/').filter(|(first, _)| is_region(first)) {
                region = Some(first.to_owned());
                id = rest;
            } else {
                break;
            }
        }
        if let Some(own) =
            id.strip_prefix("arn:").and_then(|arn| arn.split(':').nth(2)).filter(|own| is_region(own))
        {
            region = Some(own.to_owned());
        }
        ModelName { id: id.to_owned(), region }
    }
}

/// `eu-west-1`, `us-gov-east-1`, `cn-north-1` …
fn is_region(text: &str) -> bool {
    let words: Vec<_> = text.split('-').collect();
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    match words.as_slice() {
        [first, middle @ .., last] => {
            (1..=2).contains(&middle.len())
                && is_word(first)
                && (first.len() == 2 || *first == "eusc")
                && middle.iter().all(is_word)
                && !last.is_empty()
                && last.bytes().all(|byte| byte.is_ascii_digit())
        }
        _ => false,
    }
}

/// What hosts of a region end with.
pub(crate) fn suffix(region: &str) -> &'static str {
    const SUFFIXES: [(&str, &str); 4] = [
        ("cn-", "amazonaws.com.cn"),
        ("us-iso-", "c2s.ic.gov"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("eusc-", "amazonaws.eu"),
    ];
    let own = SUFFIXES.iter().find(|(prefix, _)| region.starts_with(prefix));
    own.map_or("amazonaws.com", |(_, suffix)| suffix)
}

/// The address of the service in a region, from the row's: with the ending of its partition, and with the hosts that
/// meet FIPS 140 where they are asked for.
pub(crate) fn runtime_base(base: &str, region: &str, fips: bool) -> String {
    let base = match base.strip_suffix("amazonaws.com") {
        Some(start) => format!("{start}{}", suffix(region)),
        None => base.to_owned(),
    };
    if fips { base.replacen("bedrock-runtime.", "bedrock-runtime-fips.", 1) } else { base }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_leads_to_the_id_and_its_region() {
        let check = |model: &str, id: &str, region: Option<&str>| {
            let expected = ModelName { id: id.into(), region: region.map(Into::into) };
            assert_eq!(ModelName::parse(model), expected, "{model}");
        };
        let claude = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
        check(claude, claude, None);
        check(&format!("converse/{claude}"), claude, None);
        check(&format!("invoke/{claude}"), claude, None);
        check(&format!("eu-west-1/{claude}"), claude, Some("eu-west-1"));
        check(&format!("converse/us-gov-west-1/{claude}"), claude, Some("us-gov-west-1"));
        let arn = "arn:aws:bedrock:ap-south-1:123456789012:application-inference-profile/abc";
        check(arn, arn, Some("ap-south-1"));
        check(&format!("converse/{arn}"), arn, Some("ap-south-1"));
        check("arn:aws:bedrock:::x", "arn:aws:bedrock:::x", None);
        check("gpt-oss-1/x", "gpt-oss-1/x", None);
        check("llama/x", "llama/x", None);
    }

    #[test]
    fn hosts_end_as_their_partition_does() {
        let base = |region: &str, fips: bool| {
            runtime_base(&format!("https://bedrock-runtime.{region}.amazonaws.com"), region, fips)
        };
        assert_eq!(base("eu-west-1", false), "https://bedrock-runtime.eu-west-1.amazonaws.com");
        assert_eq!(base("us-gov-west-1", true), "https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com");
        assert_eq!(base("cn-north-1", false), "https://bedrock-runtime.cn-north-1.amazonaws.com.cn");
        assert_eq!(base("us-isob-east-1", false), "https://bedrock-runtime.us-isob-east-1.sc2s.sgov.gov");
    }
}
