// Starts `durasql lsp` for .dsql files; everything else is the server's.
const { workspace } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

exports.activate = () => {
  const command = workspace.getConfiguration("durasql").get("command", "durasql");
  client = new LanguageClient(
    "durasql",
    "durasql",
    { command, args: ["lsp"] },
    { documentSelector: [{ language: "dsql" }] },
  );
  return client.start();
};

exports.deactivate = () => client?.stop();
