# Converts cargo-cyclonedx's list of a function to the content of its image: keeps the crates of the function's tree,
# removes folders of the build machine, and adds the certificates. `$tree` is the output of `cargo tree --prefix none`.
([$tree | splits("\n") | select(. != "") | split(" ") | "\(.[0])@\(.[1] | ltrimstr("v"))"] | unique) as $compiled
| [.components[] | select(.scope == "excluded" or ("\(.name)@\(.version)" as $id | $compiled | index([$id]) | not))
    | ."bom-ref"] as $excluded
| .components |= map(select(."bom-ref" as $ref | $excluded | index([$ref]) | not))
| .dependencies |= map(
    select(.ref as $ref | $excluded | index([$ref]) | not)
    | if has("dependsOn") then .dependsOn -= $excluded else . end)
| walk(if type == "string" then sub("^path\\+file://.*/(?<member>(crates|services)/)"; "path+file:///\(.member)") else . end)
| .components += [{
    type: "data",
    name: "ca-certificates",
    version: $certificates,
    licenses: [{license: {id: "MPL-2.0"}}]
  }]
