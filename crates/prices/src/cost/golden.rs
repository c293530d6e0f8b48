//! Bills worked out by hand, over the built-in table.
//!
//! Every case gives the bill as a reader of the provider's price page would write it (`count*price`, prices a million
//! tokens; `u` marks a price of one unit, `m` a price of a second counted in milliseconds) and its sum in dollars.
//! A refreshed table may change prices here: then the page is the judge, not the code.

use crate::{Catalog, Facts, cost};
use tollway_model::{Cost, Money, Usage};

const HOUR: i64 = 3600;
/// 2026-11-20 00:00 UTC.
const FRIDAY: i64 = 1_795_132_800;

/// A usage of `model` costs exactly `dollars`, and that is what `bill` adds up to.
fn check(provider: &str, model: &str, usage: Usage, facts: Facts<'_>, bill: &str, dollars: &str) {
    let entry = Catalog::builtin().find(provider, model).unwrap_or_else(|| panic!("{provider}/{model}"));
    assert_eq!(entry.derived, None, "{provider}/{model} is in the table");
    let breakdown = cost(&entry.prices, &usage, &facts);
    let expected = Cost::Known(Money::parse_dollars(dollars).unwrap());
    assert_eq!(breakdown.total, expected, "{provider}/{model} {bill}: {breakdown:#?}");
    assert_eq!(Money::from_picos_rounded(sum(bill)), expected.known().unwrap(), "{bill}");
}

/// The sum of a bill in picodollars, rounded down.
fn sum(bill: &str) -> i128 {
    let terms = bill.split(" + ").map(|term| {
        let (count, price) = term.split_once('*').unwrap();
        let count: i128 = count.parse().unwrap();
        let number = price.trim_end_matches(['u', 'm']);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let scaled: i128 = format!("{whole}{fraction:0<15}").parse().unwrap();
        // `scaled` counts 1e-15 dollars.
        match price.as_bytes().last() {
            Some(b'u') => count * scaled * 1_000_000,
            Some(b'm') => count * scaled * 1000,
            _ => count * scaled,
        }
    });
    terms.sum::<i128>() / 1_000_000_000
}

#[test]
fn plain_cached_and_cache_written_tokens_cost_their_rates() {
    check(
        "openai",
        "gpt-4o",
        Usage { input: 1200, cache_read: 800, output: 300, ..Usage::default() },
        Facts::default(),
        "1200*2.5 + 800*1.25 + 300*10",
        "0.007",
    );
    check(
        "openai",
        "gpt-4o-2024-05-13",
        Usage { input: 1, output: 1, ..Usage::default() },
        Facts::default(),
        "1*5 + 1*15",
        "0.00002",
    );
    check(
        "openai",
        "gpt-4.1",
        Usage { input: 1000000, output: 1000, ..Usage::default() },
        Facts::default(),
        "1000000*2 + 1000*8",
        "2.008",
    );
    check(
        "anthropic",
        "claude-sonnet-4-5",
        Usage { input: 2095, output: 503, ..Usage::default() },
        Facts::default(),
        "2095*3 + 503*15",
        "0.01383",
    );
    check(
        "anthropic",
        "claude-sonnet-4-5",
        Usage { input: 21, cache_read: 188086, output: 393, ..Usage::default() },
        Facts::default(),
        "21*3 + 188086*0.3 + 393*15",
        "0.0623838",
    );
    check(
        "anthropic",
        "claude-sonnet-4-5",
        Usage { input: 3, cache_write: 5000, cache_write_1h: 7000, output: 10, ..Usage::default() },
        Facts::default(),
        "3*3 + 5000*3.75 + 7000*6 + 10*15",
        "0.060909",
    );
    check(
        "anthropic",
        "claude-haiku-4-5",
        Usage { input: 100, cache_read: 10, cache_write: 20, output: 5, ..Usage::default() },
        Facts::default(),
        "100*1 + 10*0.1 + 20*1.25 + 5*5",
        "0.000151",
    );
    check(
        "mistral",
        "mistral-large-latest",
        Usage { input: 1000, cache_read: 200, output: 100, ..Usage::default() },
        Facts::default(),
        "1000*0.5 + 200*0.05 + 100*1.5",
        "0.00066",
    );
    check(
        "azure",
        "gpt-4o",
        Usage { input: 10, cache_read: 1024, output: 7, ..Usage::default() },
        Facts::default(),
        "10*2.5 + 1024*1.25 + 7*10",
        "0.001375",
    );
    check(
        "deepseek",
        "deepseek-chat",
        Usage { input: 400, cache_read: 600, output: 250, ..Usage::default() },
        Facts::default(),
        "400*0.28 + 600*0.028 + 250*0.42",
        "0.0002338",
    );
    check(
        "databricks",
        "databricks-claude-sonnet-4-5",
        Usage { input: 1000, output: 10, ..Usage::default() },
        Facts::default(),
        "1000*2.99999 + 10*15.00002",
        "0.00314999",
    );
    check(
        "dashscope",
        "qwen3.7-max",
        Usage { input: 100, cache_read: 1000, cache_write: 10, ..Usage::default() },
        Facts::default(),
        "100*2.5 + 1000*0.5 + 10*3.125",
        "0.00078125",
    );
    check(
        "dashscope",
        "qwen3.7-max",
        Usage { input: 100, cache_read: 1000, ..Usage::default() },
        Facts { explicit_cache: true, ..Facts::default() },
        "100*2.5 + 1000*0.25",
        "0.0005",
    );
    check(
        "ollama",
        "llama3",
        Usage { input: 5000, output: 800, ..Usage::default() },
        Facts::default(),
        "5000*0 + 800*0",
        "0.0",
    );
}

#[test]
fn rates_a_sheet_does_not_name_fall_back_to_input_or_output() {
    check(
        "openai",
        "gpt-4o-2024-05-13",
        Usage { input: 10, cache_read: 90, ..Usage::default() },
        Facts::default(),
        "100*5",
        "0.0005",
    );
    check(
        "openai",
        "gpt-4o",
        Usage { input: 10, reasoning: 64, output: 1, ..Usage::default() },
        Facts::default(),
        "10*2.5 + 65*10",
        "0.000675",
    );
    check(
        "openai",
        "gpt-4o",
        Usage { cache_write: 30, cache_write_1h: 20, input: 50, ..Usage::default() },
        Facts::default(),
        "100*2.5",
        "0.00025",
    );
    check(
        "mistral",
        "mistral-large-latest",
        Usage { audio_input: 7, image_input: 8, video_input: 9, ..Usage::default() },
        Facts::default(),
        "24*0.5",
        "0.000012",
    );
    check(
        "databricks",
        "databricks-claude-sonnet-4-5",
        Usage { cache_write_1h: 1000, ..Usage::default() },
        Facts::default(),
        "1000*3.74997",
        "0.00374997",
    );
    check(
        "openai",
        "gpt-image-1",
        Usage { input: 50, output: 272, ..Usage::default() },
        Facts::default(),
        "50*5 + 272*40",
        "0.01113",
    );
}

#[test]
fn long_prompts_cost_the_tier_above_their_size() {
    check(
        "bedrock",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        Usage { input: 200000, output: 1000, ..Usage::default() },
        Facts::default(),
        "200000*3.3 + 1000*16.5",
        "0.6765",
    );
    check(
        "bedrock",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        Usage { input: 200001, output: 1000, ..Usage::default() },
        Facts::default(),
        "200001*6.6 + 1000*24.75",
        "1.3447566",
    );
    check(
        "bedrock",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        Usage { input: 1, cache_read: 150000, cache_write_1h: 50000, output: 10, ..Usage::default() },
        Facts::default(),
        "1*6.6 + 150000*0.66 + 50000*13.2 + 10*24.75",
        "0.7592541",
    );
    check(
        "bedrock",
        "anthropic.claude-haiku-5-5",
        Usage { input: 100001, cache_write: 0, output: 100, ..Usage::default() },
        Facts::default(),
        "100001*0.5 + 100*2.5",
        "0.0502505",
    );
    check(
        "openai",
        "gpt-5.4",
        Usage { input: 272001, cache_read: 1000, output: 50, ..Usage::default() },
        Facts::default(),
        "272001*5 + 1000*0.5 + 50*22.5",
        "1.36163",
    );
    check(
        "openai",
        "gpt-6-luna",
        Usage { input: 272000, output: 10, ..Usage::default() },
        Facts::default(),
        "272000*0.1 + 10*0.5",
        "0.027205",
    );
    check(
        "vertex_ai",
        "gemini-2.5-pro",
        Usage { input: 250000, reasoning: 100, output: 100, ..Usage::default() },
        Facts::default(),
        "250000*2.5 + 200*15",
        "0.628",
    );
    check(
        "xai",
        "grok-4.6",
        Usage { input: 199999, image_input: 2, output: 3, ..Usage::default() },
        Facts::default(),
        "199999*4 + 2*4 + 3*12",
        "0.80004",
    );
}

#[test]
fn brackets_price_the_whole_call() {
    check(
        "dashscope",
        "qwen-flash",
        Usage { input: 256000, output: 100, ..Usage::default() },
        Facts::default(),
        "256000*0.05 + 100*0.4",
        "0.01284",
    );
    check(
        "dashscope",
        "qwen-flash",
        Usage { input: 256001, output: 100, ..Usage::default() },
        Facts::default(),
        "256001*0.25 + 100*2",
        "0.06420025",
    );
    check(
        "dashscope",
        "qwen-plus-2025-07-28",
        Usage { input: 300000, reasoning: 500, output: 100, ..Usage::default() },
        Facts::default(),
        "300000*1.2 + 500*12 + 100*3.6",
        "0.36636",
    );
    check(
        "dashscope",
        "qwen-flash",
        Usage { input: 2000000, ..Usage::default() },
        Facts::default(),
        "2000000*0.25",
        "0.5",
    );
    check(
        "exa_ai",
        "search",
        Usage::default(),
        Facts { queries: 1, results: 25, ..Facts::default() },
        "1*0.005u",
        "0.005",
    );
    check(
        "exa_ai",
        "search",
        Usage::default(),
        Facts { queries: 2, results: 26, ..Facts::default() },
        "2*0.025u",
        "0.05",
    );
}

#[test]
fn service_tiers_have_their_own_rates() {
    check(
        "openai",
        "gpt-5",
        Usage { input: 1000, cache_read: 400, output: 100, ..Usage::default() },
        Facts { service_tier: Some("flex"), ..Facts::default() },
        "1000*0.625 + 400*0.0625 + 100*5",
        "0.00115",
    );
    check(
        "openai",
        "gpt-5",
        Usage { input: 1000, cache_read: 400, output: 100, ..Usage::default() },
        Facts { service_tier: Some("priority"), ..Facts::default() },
        "1000*2.5 + 400*0.25 + 100*20",
        "0.0046",
    );
    check(
        "openai",
        "gpt-5",
        Usage { input: 1000, output: 100, ..Usage::default() },
        Facts { service_tier: Some("default"), ..Facts::default() },
        "1000*1.25 + 100*10",
        "0.00225",
    );
    check(
        "openai",
        "gpt-5",
        Usage { input: 1000, output: 100, ..Usage::default() },
        Facts { service_tier: Some("scale"), ..Facts::default() },
        "1000*1.25 + 100*10",
        "0.00225",
    );
    check(
        "openai",
        "gpt-5",
        Usage { input: 1000, output: 100, ..Usage::default() },
        Facts { batch: true, service_tier: Some("priority"), ..Facts::default() },
        "1000*0.625 + 100*5",
        "0.001125",
    );
    check(
        "openai",
        "gpt-4o",
        Usage { input: 1000, cache_read: 400, output: 100, ..Usage::default() },
        Facts { batch: true, ..Facts::default() },
        "1000*1.25 + 400*1.25 + 100*5",
        "0.00225",
    );
    check(
        "azure",
        "gpt-4o",
        Usage { input: 1000, output: 100, ..Usage::default() },
        Facts { batch: true, ..Facts::default() },
        "1000*2.5 + 100*10",
        "0.0035",
    );
    check(
        "openai",
        "gpt-5.4",
        Usage { input: 300000, output: 10, ..Usage::default() },
        Facts { service_tier: Some("flex"), ..Facts::default() },
        "300000*2.5 + 10*11.25",
        "0.7501125",
    );
    check(
        "openai",
        "gpt-6-luna",
        Usage { input: 10, cache_read: 20, output: 5, ..Usage::default() },
        Facts { service_tier: Some("decisions"), ..Facts::default() },
        "10*0.1 + 20*0.1 + 5*0",
        "0.000003",
    );
    check(
        "anthropic",
        "claude-sonnet-4-5",
        Usage { input: 100, cache_read: 10, cache_write: 20, output: 30, ..Usage::default() },
        Facts { batch: true, ..Facts::default() },
        "100*1.5 + 10*0.15 + 20*1.875 + 30*7.5",
        "0.000414",
    );
    check(
        "anthropic",
        "claude-sonnet-4-5",
        Usage { cache_write_1h: 1000, ..Usage::default() },
        Facts { batch: true, ..Facts::default() },
        "1000*3",
        "0.003",
    );
    check(
        "bedrock",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        Usage { cache_read: 1000, cache_write: 100, ..Usage::default() },
        Facts { batch: true, ..Facts::default() },
        "1000*0.33 + 100*2.0625",
        "0.00053625",
    );
    check(
        "vertex_ai",
        "gemini-2.5-flash",
        Usage { input: 100, audio_input: 50, reasoning: 20, output: 10, ..Usage::default() },
        Facts { service_tier: Some("ON_DEMAND_PRIORITY"), ..Facts::default() },
        "100*0.54 + 50*1.8 + 30*4.5",
        "0.000279",
    );
    check(
        "vertex_ai",
        "gemini-2.5-flash",
        Usage { input: 100, audio_input: 50, ..Usage::default() },
        Facts { service_tier: Some("flex"), ..Facts::default() },
        "100*0.15 + 50*0.5",
        "0.00004",
    );
    check(
        "sail",
        "deepseek-ai/DeepSeek-V4-Flash-0731",
        Usage { input: 1000, output: 100, ..Usage::default() },
        Facts { service_tier: Some("balanced"), ..Facts::default() },
        "1000*0.07 + 100*0.14",
        "0.000084",
    );
    check(
        "bedrock_mantle",
        "openai.gpt-6-astra",
        Usage { input: 300000, output: 1, ..Usage::default() },
        Facts { service_tier: Some("ultrafast"), ..Facts::default() },
        "300000*132 + 1*495",
        "39.600495",
    );
    check(
        "mistral",
        "mistral-ocr-2512",
        Usage::default(),
        Facts { pages: 10, annotation_pages: 2, batch: true, ..Facts::default() },
        "10*0.001u + 2*0.0015u",
        "0.013",
    );
}

#[test]
fn places_and_modes_multiply_token_prices_only() {
    check(
        "openai",
        "gpt-5.4",
        Usage { input: 1000, output: 10, ..Usage::default() },
        Facts { geography: Some("eu"), ..Facts::default() },
        "1000*2.75 + 10*16.5",
        "0.002915",
    );
    check(
        "anthropic",
        "claude-opus-4-8",
        Usage { input: 1000, output: 10, web_searches: 1, ..Usage::default() },
        Facts { geography: Some("us"), ..Facts::default() },
        "1000*5.5 + 10*27.5 + 1*0.01u",
        "0.015775",
    );
    check(
        "anthropic",
        "claude-opus-4-8",
        Usage { input: 1000, output: 10, ..Usage::default() },
        Facts { service_tier: Some("fast"), ..Facts::default() },
        "1000*10 + 10*50",
        "0.0105",
    );
    check(
        "anthropic",
        "claude-opus-4-8",
        Usage { input: 1000, ..Usage::default() },
        Facts { service_tier: Some("fast"), geography: Some("us"), ..Facts::default() },
        "1000*11",
        "0.011",
    );
    check(
        "vertex_ai",
        "claude-fable-5",
        Usage { input: 1000, cache_read: 10, ..Usage::default() },
        Facts { regional_endpoint: true, ..Facts::default() },
        "1000*11 + 10*1.1",
        "0.011011",
    );
    check(
        "openai",
        "gpt-4o",
        Usage { input: 1000, ..Usage::default() },
        Facts { geography: Some("eu"), regional_endpoint: true, ..Facts::default() },
        "1000*2.5",
        "0.0025",
    );
}

#[test]
fn cheap_hours_hold_inside_their_windows() {
    check(
        "deepseek",
        "deepseek-flash",
        Usage { input: 1000, cache_read: 500, output: 100, ..Usage::default() },
        Facts::default(),
        "1000*0.3 + 500*0.006 + 100*1.2",
        "0.000423",
    );
    check(
        "deepseek",
        "deepseek-flash",
        Usage { input: 1000, cache_read: 500, output: 100, ..Usage::default() },
        Facts { at: Some(FRIDAY + 5 * HOUR), ..Facts::default() },
        "1000*0.15 + 500*0.003 + 100*0.6",
        "0.0002115",
    );
    check(
        "deepseek",
        "deepseek-flash",
        Usage { input: 1000, reasoning: 50, output: 50, ..Usage::default() },
        Facts { at: Some(FRIDAY + 6 * HOUR), ..Facts::default() },
        "1000*0.3 + 100*1.2",
        "0.00042",
    );
    check(
        "deepseek",
        "deepseek-flash",
        Usage { input: 1000, reasoning: 50, output: 50, ..Usage::default() },
        Facts { at: Some(FRIDAY + 32 * HOUR), ..Facts::default() },
        "1000*0.15 + 100*0.6",
        "0.00021",
    );
    check(
        "tencent",
        "deepseek-v4-pro-0813",
        Usage { input: 1000, ..Usage::default() },
        Facts { at: Some(FRIDAY + 17 * HOUR), ..Facts::default() },
        "1000*0.66",
        "0.00066",
    );
    check(
        "tencent",
        "deepseek-v4-pro-0813",
        Usage { input: 1000, ..Usage::default() },
        Facts { at: Some(FRIDAY + 55 * HOUR), ..Facts::default() },
        "1000*0.66",
        "0.00066",
    );
    check(
        "tencent",
        "deepseek-v4-pro-0813",
        Usage { input: 1000, ..Usage::default() },
        Facts { at: Some(FRIDAY + 74 * HOUR), ..Facts::default() },
        "1000*1.32",
        "0.00132",
    );
}

#[test]
fn media_cost_tokens_where_counted_and_units_elsewhere() {
    check(
        "openai",
        "gpt-realtime",
        Usage {
            input: 100,
            cache_read: 30,
            audio_input: 200,
            output: 20,
            audio_output: 300,
            ..Usage::default()
        },
        Facts { cached_audio: 10, cached_image: 5, ..Facts::default() },
        "100*4 + 15*0.4 + 10*0.4 + 5*0.5 + 200*32 + 20*16 + 300*64",
        "0.0263325",
    );
    check(
        "gemini",
        "gemini-2.5-flash",
        Usage { input: 10, audio_input: 3200, output: 5, ..Usage::default() },
        Facts::default(),
        "10*0.3 + 3200*1 + 5*2.5",
        "0.0032155",
    );
    check(
        "openai",
        "whisper-1",
        Usage::default(),
        Facts { audio_in_millis: 61500, ..Facts::default() },
        "61500*0.0001m",
        "0.00615",
    );
    check(
        "openai",
        "gpt-4o-mini-transcribe",
        Usage { audio_input: 600, output: 100, ..Usage::default() },
        Facts { audio_in_millis: 60000, ..Facts::default() },
        "600*1.25 + 100*5",
        "0.00125",
    );
    check(
        "openai",
        "gpt-4o-mini-transcribe",
        Usage::default(),
        Facts { audio_in_millis: 60000, ..Facts::default() },
        "60000*0.00005m",
        "0.003",
    );
    check(
        "deepgram",
        "nova-3",
        Usage::default(),
        Facts { audio_in_millis: 1234, ..Facts::default() },
        "1234*0.00007167m",
        "0.000088441",
    );
    check(
        "openai",
        "tts-1",
        Usage::default(),
        Facts { characters_in: 4096, ..Facts::default() },
        "4096*15",
        "0.06144",
    );
    check(
        "aws_polly",
        "generative",
        Usage::default(),
        Facts { characters_in: 100, ..Facts::default() },
        "100*30",
        "0.003",
    );
    check(
        "openai",
        "gpt-image-1",
        Usage { input: 50, image_input: 194, image_output: 272, ..Usage::default() },
        Facts { images_out: 1, ..Facts::default() },
        "50*5 + 194*10 + 272*40",
        "0.01307",
    );
    check(
        "openai",
        "1024-x-1024/gpt-image-1.5",
        Usage::default(),
        Facts { images_out: 3, ..Facts::default() },
        "3*0.009u",
        "0.027",
    );
    check(
        "azure",
        "high/1024-x-1024/gpt-image-1",
        Usage::default(),
        Facts { images_out: 1, pixels: 1048576, ..Facts::default() },
        "1048576*0.000000159264u",
        "0.167000408",
    );
    check(
        "fal_ai",
        "fal-ai/nano-banana-2",
        Usage::default(),
        Facts { images_out: 2, image_size: Some("2K"), ..Facts::default() },
        "2*0.12u",
        "0.24",
    );
    check(
        "fal_ai",
        "fal-ai/nano-banana-2",
        Usage::default(),
        Facts { images_out: 2, image_size: Some("9K"), ..Facts::default() },
        "2*0.08u",
        "0.16",
    );
    check(
        "vertex_ai",
        "gemini-2.5-flash-image",
        Usage { input: 30, image_output: 1290, ..Usage::default() },
        Facts { images_out: 1, ..Facts::default() },
        "30*0.3 + 1290*30",
        "0.038709",
    );
    check(
        "vertex_ai",
        "gemini-2.5-flash-image",
        Usage { input: 30, ..Usage::default() },
        Facts { images_out: 1, ..Facts::default() },
        "30*0.3 + 1*0.039u",
        "0.039009",
    );
    check(
        "azure",
        "sora-2",
        Usage::default(),
        Facts { video_out_millis: 8000, ..Facts::default() },
        "8000*0.1m",
        "0.8",
    );
    check(
        "dashscope",
        "happyhorse-1.0-i2v",
        Usage::default(),
        Facts { video_out_millis: 5000, video_resolution: Some("720p"), ..Facts::default() },
        "5000*0.123769m",
        "0.618845",
    );
    check(
        "vertex_ai",
        "gemini-embedding-2",
        Usage { input: 10, image_input: 20, video_input: 30, audio_input: 40, ..Usage::default() },
        Facts::default(),
        "10*0.2 + 20*0.45 + 30*12 + 40*6.5",
        "0.000631",
    );
    check(
        "vertex_ai",
        "multimodalembedding",
        Usage { input: 12, ..Usage::default() },
        Facts { images_in: 2, video_in_millis: 7000, ..Facts::default() },
        "12*0.8 + 2*0.0001u + 7000*0.0005m",
        "0.0037096",
    );
    check(
        "vertex_ai",
        "multimodalembedding",
        Usage::default(),
        Facts { video_in_millis: 16000, ..Facts::default() },
        "16000*0.002m",
        "0.032",
    );
    check(
        "xai",
        "grok-voice-2.0",
        Usage::default(),
        Facts { audio_in_millis: 30000, text_messages: 2, ..Facts::default() },
        "30000*0.001333333333m + 2*0.004u",
        "0.048",
    );
}

#[test]
fn units_cost_their_price_each() {
    check(
        "anthropic",
        "claude-sonnet-4-5",
        Usage { input: 100, output: 10, web_searches: 3, ..Usage::default() },
        Facts::default(),
        "100*3 + 10*15 + 3*0.01u",
        "0.03045",
    );
    check(
        "perplexity",
        "sonar-pro",
        Usage { input: 10, output: 10, web_searches: 1, ..Usage::default() },
        Facts { search_context: Some("high"), ..Facts::default() },
        "10*3 + 10*15 + 1*0.014u",
        "0.01418",
    );
    check(
        "perplexity",
        "sonar-pro",
        Usage { input: 10, output: 10, web_searches: 1, ..Usage::default() },
        Facts::default(),
        "10*3 + 10*15 + 1*0.01u",
        "0.01018",
    );
    check(
        "perplexity",
        "sonar-deep-research",
        Usage { input: 10, reasoning: 1000, output: 100, web_searches: 5, ..Usage::default() },
        Facts { citation_tokens: 400, ..Facts::default() },
        "10*2 + 1000*3 + 100*8 + 400*2 + 5*0.005u",
        "0.02962",
    );
    check(
        "perplexity",
        "pplx-70b-online",
        Usage { input: 100, output: 50, ..Usage::default() },
        Facts::default(),
        "100*0 + 50*2.8 + 1*0.005u",
        "0.00514",
    );
    check(
        "vertex_ai",
        "gemini-2.5-pro",
        Usage { input: 10, web_searches: 4, ..Usage::default() },
        Facts::default(),
        "10*1.25 + 1*0.035u",
        "0.0350125",
    );
    check(
        "vertex_ai",
        "gemini-3-flash-preview",
        Usage { input: 10, web_searches: 4, ..Usage::default() },
        Facts { maps_queries: 2, ..Facts::default() },
        "10*0.5 + 4*0.014u + 2*0.014u",
        "0.084005",
    );
    check(
        "cohere",
        "rerank-v3.5",
        Usage { input: 500, ..Usage::default() },
        Facts { queries: 2, ..Facts::default() },
        "500*0 + 2*0.002u",
        "0.004",
    );
    check(
        "tavily",
        "search",
        Usage::default(),
        Facts { queries: 3, ..Facts::default() },
        "3*0.008u",
        "0.024",
    );
    check(
        "mistral",
        "mistral-ocr-2512",
        Usage::default(),
        Facts { pages: 12, annotation_pages: 1, ..Facts::default() },
        "12*0.002u + 1*0.003u",
        "0.027",
    );
    check(
        "reducto",
        "parse-legacy",
        Usage::default(),
        Facts { ocr_credits: 7, ..Facts::default() },
        "7*0.015u",
        "0.105",
    );
    check(
        "azure",
        "container",
        Usage::default(),
        Facts { code_sessions: 2, ..Facts::default() },
        "2*0.033u",
        "0.066",
    );
    check(
        "bedrock",
        "guardrails",
        Usage::default(),
        Facts { guardrail_units: &[("topicPolicyUnits", 3), ("wordPolicyUnits", 9)], ..Facts::default() },
        "3*0.00015u + 9*0u",
        "0.00045",
    );
    check(
        "bedrock",
        "*/1-month-commitment/cohere.command-light-text-v14",
        Usage { input: 100, output: 50, ..Usage::default() },
        Facts { compute_millis: 1500, ..Facts::default() },
        "1500*0.001902m",
        "0.002853",
    );
    check(
        "openai",
        "text-embedding-3-small",
        Usage { input: 8191, ..Usage::default() },
        Facts::default(),
        "8191*0.02",
        "0.00016382",
    );
    check(
        "openai",
        "text-embedding-3-small",
        Usage { input: 8191, ..Usage::default() },
        Facts { batch: true, ..Facts::default() },
        "8191*0.01",
        "0.00008191",
    );
    check(
        "voyage",
        "voyage-3",
        Usage { input: 1000, ..Usage::default() },
        Facts::default(),
        "1000*0.06",
        "0.00006",
    );
    check(
        "cohere",
        "embed-v4.0",
        Usage { input: 10, image_input: 1000, ..Usage::default() },
        Facts::default(),
        "10*0.12 + 1000*0.47",
        "0.0004712",
    );
}
