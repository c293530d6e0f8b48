-- Names purses that may have missed something.
for _ = 1, number() do
  local scope = take()
  doubt(scope, take())
end
return 0
