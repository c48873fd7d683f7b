// An upload page by Uppy. It uploads to port 1080 of the host it came from, or to the URL in ?endpoint=…
import Uppy from '@uppy/core'
import Dashboard from '@uppy/dashboard'
import Tus from '@uppy/tus'
import '@uppy/core/css/style.min.css'
import '@uppy/dashboard/css/style.min.css'
import './page.css'

const endpoint =
  new URLSearchParams(location.search).get('endpoint') ?? `http://${location.hostname}:1080/files/`

const uppy = new Uppy({ autoProceed: true })
  .use(Dashboard, { inline: true, target: '#uploads', width: '100%', height: 340, note: `to ${endpoint}` })
  .use(Tus, {
    endpoint,
    // No chunkSize: tusd-py keeps what came of a request that was cut, so one request may carry the whole file.
    // What is known of an upload stays in localStorage until it is finished; so it survives a closed page.
    removeFingerprintOnSuccess: true,
    // A server that is restarted, or a train in a tunnel, takes longer than the 9 seconds that are the default.
    retryDelays: [0, 1000, 3000, 5000, 10_000, 20_000, 60_000],
  })

uppy.on('upload-success', (file, { uploadURL }) => {
  const link = Object.assign(document.createElement('a'), { href: uploadURL, textContent: file.name })
  document.querySelector('#finished').append(document.createElement('li'))
  document.querySelector('#finished').lastChild.append(link, `, ${file.size} bytes`)
})
