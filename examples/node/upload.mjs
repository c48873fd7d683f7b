// Upload a file by tus-js-client: npm ci, then
//   node upload.mjs film.mp4 http://127.0.0.1:1080/files/
// What was interrupted goes on where it stopped when the same command is run again in the same folder.
import { createReadStream } from 'node:fs'
import { basename } from 'node:path'
import { FileUrlStorage, Upload } from 'tus-js-client'

const [path, endpoint = 'http://127.0.0.1:1080/files/'] = process.argv.slice(2)
if (!path) {
  console.error('usage: node upload.mjs FILE [URL]')
  process.exit(2)
}

const upload = new Upload(createReadStream(path), {
  endpoint,
  metadata: { filename: basename(path) },
  // No chunkSize: tusd-py keeps what came of a request that was cut, so one request may carry the whole file.
  retryDelays: [0, 1000, 3000, 5000, 10_000, 20_000],
  // Remembered under the file's path, size and time of change: a file that was changed starts again.
  urlStorage: new FileUrlStorage('uploads.json'),
  removeFingerprintOnSuccess: true,
  onProgress: (sent, size) => process.stderr.write(`\r${Math.floor((sent / size) * 100)} %`),
  onError: (error) => {
    console.error(`\n${error.message}\nRun the same command again to go on.`)
    process.exit(1)
  },
  onSuccess: () => {
    process.stderr.write('\n')
    console.log(upload.url)
  },
})

const [previous] = await upload.findPreviousUploads()
if (previous) upload.resumeFromPreviousUpload(previous)
upload.start()
