//! Usage objects.

use tollway_model::Usage;

use crate::openai_chat::write::Map;

/// Writes `usage`. Sound and pictures have counts of their own only where there are any.
pub(super) fn encode(usage: &Usage, map: &mut Map<'_>) {
    map.int("input_tokens", usage.total_input());
    map.map("input_tokens_details", |map| {
        map.int("cached_tokens", usage.cache_read);
        map.int("cache_write_tokens", usage.total_cache_write());
        some(map, "audio_tokens", usage.audio_input);
        some(map, "image_tokens", usage.image_input);
        some(map, "video_tokens", usage.video_input);
        if usage.cache_write_1h > 0 {
            map.map("cache_creation_token_details", |map| {
                map.int("ephemeral_5m_input_tokens", usage.cache_write);
                map.int("ephemeral_1h_input_tokens", usage.cache_write_1h);
            });
        }
    });
    map.int("output_tokens", usage.total_output());
    map.map("output_tokens_details", |map| {
        map.int("reasoning_tokens", usage.reasoning);
        some(map, "audio_tokens", usage.audio_output);
        some(map, "image_tokens", usage.image_output);
    });
    map.int("total_tokens", usage.total());
    if usage.web_searches > 0 {
        map.map("server_tool_use", |map| map.int("web_search_requests", usage.web_searches));
    }
}

fn some(map: &mut Map<'_>, key: &str, count: u64) {
    if count > 0 {
        map.int(key, count);
    }
}
