// One upload by tus-js-client, told by a JSON argument: {library, endpoint, file, options}. Prints what came of it.
import { readFileSync } from 'node:fs'

const { library, endpoint, file, options, abortAt } = JSON.parse(process.argv[2])
const loaded = await import(library)
const { Upload } = loaded.Upload ? loaded : loaded.default

let retries = 0
const upload = new Upload(readFileSync(file), {
  endpoint,
  ...options,
  onShouldRetry: () => {
    retries += 1
    return true
  },
  onError: (error) => {
    console.error(String(error))
    process.exit(1)
  },
  onSuccess: () => {
    console.log(JSON.stringify({ url: upload.url, retries }))
    process.exit(0)
  },
  onChunkComplete: async (_size, accepted) => {
    if (abortAt === undefined || accepted < abortAt) return
    const url = upload.url
    await upload.abort(true)
    console.log(JSON.stringify({ url, aborted: true }))
    process.exit(0)
  },
})
upload.start()
