;; W-09: an answer outside its memory
;; outcome: call contract
;; says: its answer can't be read
;; cost: quick

;;@route
(return (i32.const 0x7ffffff0))
