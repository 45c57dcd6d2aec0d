-- A key as clients send it, to the one form that the filter of API keys reads: `Authorization: Bearer KEY`, whose scheme is written in any
-- case (RFC 9110, 11.1), `api-key: KEY` of Azure OpenAI's clients, `x-api-key: KEY` of Anthropic's.
function envoy_on_request(request)
  local headers = request:headers()
  local key = headers:get("authorization")
  if key then
    key = key:match("^[Bb][Ee][Aa][Rr][Ee][Rr] +([^ ]+) *$")
  else
    key = headers:get("api-key") or headers:get("x-api-key")
  end
  headers:remove("api-key")
  headers:remove("x-api-key")
  if key then
    headers:replace("authorization", "Bearer " .. key)
  end
end
