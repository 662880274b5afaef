// All of Spectral's rules for OpenAPI over the document on standard input; what it finds is printed, and any of it is a failure.
import { readFileSync } from "node:fs";
import core from "@stoplight/spectral-core";
import parsers from "@stoplight/spectral-parsers";
import rulesets from "@stoplight/spectral-rulesets";

const spectral = new core.Spectral();
spectral.setRuleset({
  extends: [[rulesets.oas, "all"]],
  rules: {
    "openapi-tags-alphabetical": "off", // tags come in the order in which one meets them: usage first
    "license-url": "off", // OpenAPI 3.1 allows `identifier` or `url`, not both
    "contact-properties": "off", // there is no address to give
  },
});
const found = await spectral.run(new core.Document(readFileSync(0, "utf8"), parsers.Json, "openapi.json"));
for (const { path, code, message } of found) {
  console.log(`${path.join("/")}: ${code}: ${message}`);
}
process.exitCode = found.length ? 1 : 0;
