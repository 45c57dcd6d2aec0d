-- Refuses a request whose JSON nests deeper than any API's. Servers read and free JSON by recursion, and one that runs out of stack ends:
-- llama-server of llama.cpp b11434 does at 100,000 brackets, which are 100 KB. 128 levels is what serde_json reads by default.
-- Only brackets outside of strings are counted; whether the rest is JSON at all is the server's to say.
local DEEPEST = 128
local byte = string.byte

local function too_deep(text)
  local depth, at, length, in_string = 0, 1, #text, false
  while at <= length do
    local c = byte(text, at)
    if in_string then
      if c == 92 then -- a backslash, and what it escapes
        at = at + 1
      elseif c == 34 then
        in_string = false
      end
    elseif c == 34 then
      in_string = true
    elseif c == 91 or c == 123 then
      depth = depth + 1
      if depth > DEEPEST then
        return true
      end
    elseif c == 93 or c == 125 then
      depth = depth - 1
    end
    at = at + 1
  end
  return false
end

function envoy_on_request(request)
  local body = request:body()
  local length = body and body:length() or 0
  -- No JSON begins with a dash and goes deep; an upload in parts (multipart/form-data) begins with one, and has brackets of its own.
  if length == 0 or body:getBytes(0, 1) == "-" then
    return
  end
  if too_deep(body:getBytes(0, length)) then
    request:respond({ [":status"] = "400" }, "The request's JSON is nested more than " .. DEEPEST .. " levels deep.")
  end
end
