# Converts cargo-cyclonedx's list of a function to the content of its image: removes build dependencies and folders of
# the build machine, and adds the certificates.
[.components[] | select(.scope == "excluded") | ."bom-ref"] as $excluded
| .components |= map(select(.scope != "excluded"))
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
