;; W-07: imports a file system
;; outcome: refused
;; says: it imports wasi:filesystem/types@0.2.0: a policy imports nothing
;; cost: quick

;;@component
(component (import "wasi:filesystem/types@0.2.0" (instance)))
