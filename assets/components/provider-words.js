// Where a dataset's files lie, in words.

/** A provider's name and what it means for who chooses it. */
export function providerWords(provider) {
  return provider.type === "managed" ? `${provider.name} (the disk of this box)` : `${provider.name} (S3)`;
}

export function providerIcon(type) {
  return type === "s3" ? "cloud" : "hard-drive";
}
